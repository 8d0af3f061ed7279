"""A few sentences from results: what the entropy did, what it bought, who carries it, the limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from entropylab.plots.style import method_label

if TYPE_CHECKING:
    import pandas as pd

    from entropylab.analysis.attribution import Attribution
    from entropylab.analysis.comparison import Comparison
    from entropylab.analysis.curve import CurveFit
    from entropylab.analysis.tails import TailReport

    from .finding import Finding
    from .findings import Findings

BASELINE = "baseline"


def story(findings: Findings) -> list[str]:
    """Three sentences: entropy, the law, the tail; each says what is missing where something is."""
    return [entropy_sentence(findings), law_sentence(_reference(findings.law)), tail_sentence(findings)]


def entropy_sentence(findings: Findings) -> str:
    """Start and end of the reference's entropy (nats), and where the other methods end."""
    comparison: Comparison | None = findings.comparison.result
    if comparison is None:
        return f"No comparison: {findings.comparison.missing}."
    start, end = (_means(comparison, f"entropy_{when}") for when in ("start", "end"))
    reference, *others = _ordered(list(end))
    if not _known(start[reference], end[reference]):
        return "No entropy was recorded, so nothing is said about it."
    spent = 1 - end[reference] / start[reference]
    text = f"{method_label(reference)} {_spent(spent)} ({start[reference]:.2f} to {end[reference]:.2f} nats)"
    ends = [_end(name, end[name], end[reference]) for name in others if _known(end[name])]
    return f"{text}; {_and(ends)}." if ends else f"{text}."


def law_sentence(finding: Finding | None) -> str:
    """Fit, ceiling and interval of one run, or why there is none."""
    if finding is None or finding.result is None:
        return f"No law was fitted: {finding.missing if finding else 'no run'}."
    fit: CurveFit = finding.result
    r2 = "undefined" if fit.r2 is None else f"{fit.r2:.2f}"
    other = f" ({fit.performance_name})" if fit.performance_name not in (None, "accuracy") else ""
    points = f"{fit.n_points} evaluations{other} of {finding.label}"
    line = f"R = {-fit.a:.2f} exp(H) {fit.b:+.2f} on {points}: R2 {r2}"
    bounds = fit.intervals["ceiling"]
    if bounds is None:
        return f"{line}, ceiling {fit.ceiling:.2f} without an interval ({_first(fit.withheld)})."
    return f"{line}, ceiling {fit.ceiling:.2f} ({bounds[0]:.2f}-{bounds[1]:.2f}, if the law holds)."


def tail_sentence(findings: Findings) -> str:
    """What the top 2 % of the tokens hold, and how many of them are rare tokens of low advantage."""
    tails, who = _reference(findings.tails), _reference(findings.who)
    if tails is None or tails.result is None:
        return f"No statement on the tokens: {tails.missing if tails else 'no run'}."
    report: TailReport = tails.result
    row = report.concentration[report.concentration["fraction"] == 0.02].iloc[0]
    held = _share(row["top_share_positive"], row["top_share_positive_low"], row["top_share_positive_high"])
    text = f"The top 2 % of the tokens of {tails.label} hold {held} of the positive covariance"
    if who is None or who.result is None:
        return f"{text}."
    rare = _rare(who.result)
    return (
        f"{text}; {_share(rare['share'], rare['share_low'], rare['share_high'])} of them are rare tokens "
        + ("whose advantage is below average.")
    )


def limits(findings: Findings) -> str:
    """Differences of the performances from the baseline, whether the first was raised, and the seeds."""
    comparison: Comparison | None = findings.comparison.result
    if comparison is None:
        return f"No comparison: {findings.comparison.missing}."
    found = {name: _gaps(comparison.differences, f"{name}_end") for name in comparison.shown[1:]}
    found = {name: gaps for name, gaps in found.items() if not gaps.empty and name != "accuracy_greedy"}
    if not found:
        return "Without evaluations of a baseline and another method, nothing is said about performance."
    words = {name: "mean accuracy" if name == "accuracy" else name for name in found}
    parts = "; ".join(f"{words[name]} {_differences(gaps)}" for name, gaps in found.items())
    first, gaps = next(iter(found.items()))
    raised = "" if (gaps["difference"] > 0).any() else f"No method raises {words[first]} here. "
    return f"{raised}Less the baseline: {parts}. {_seeds(comparison)}"


def _gaps(differences: pd.DataFrame, metric: str) -> pd.DataFrame:
    rows = differences[differences["metric"] == metric]
    return rows[rows["difference"].notna()]


def _differences(rows: pd.DataFrame) -> str:
    return _and(
        [f"{row.difference:+.3f}{_between(row)} ({method_label(row.method)})" for row in rows.itertuples()]
    )


def _between(row: Any) -> str:
    return f" [{row.low:+.3f} to {row.high:+.3f}]" if _known(row.low, row.high) else ""


def _seeds(comparison: Comparison) -> str:
    fewest = int(comparison.runs["method"].value_counts().min())
    if fewest == 1:
        return "One seed a method: a difference may be the seed's."
    return f"Brackets: intervals over seeds, at least {fewest} a method."


def _reference(found: Sequence[Finding]) -> Finding | None:
    """The baseline's finding, or the first."""
    base = [finding for finding in found if finding.run is not None and finding.run.method == BASELINE]
    return next(iter([*base, *found]), None)


def _ordered(names: list[str]) -> list[str]:
    return sorted(names, key=lambda name: name != BASELINE)


def _means(comparison: Comparison, metric: str) -> dict[str, float]:
    rows = comparison.methods[comparison.methods["metric"] == metric]
    return dict(zip(rows["method"].tolist(), rows["mean"].tolist(), strict=True))


def _known(*values: float) -> bool:
    return all(math.isfinite(value) for value in values)


def _spent(share: float) -> str:
    if share < 0:
        return f"ends with {-100 * share:.0f} % more entropy than its first step had"
    return f"has spent {100 * share:.0f} % of the entropy of its first step"


def _end(name: str, value: float, reference: float) -> str:
    times = f" ({value / reference:.1f} times as much)" if reference > 0 else ""
    return f"{method_label(name)} ends at {value:.2f}{times}"


def _rare(result: Attribution) -> pd.Series:
    table = result.quadrants
    return table[(table["set"] == "top 2 %") & (table["quadrant"] == "low_below")].iloc[0]


def _share(value: float, low: float, high: float) -> str:
    if not _known(low, high):
        return f"{100 * value:.0f} %"
    return f"{100 * value:.0f} % ({100 * low:.0f}-{100 * high:.0f} %)"


def _first(reasons: str | None) -> str:
    return (reasons or "").split(";")[0]


def _and(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
