"""The figures of a report with their full captions: what, how many, which interval, how made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from entropylab.analysis.performance import ACCURACY
from entropylab.plots.attribution import attribution_figure
from entropylab.plots.comparison import draw_comparison
from entropylab.plots.curve import draw_curve
from entropylab.plots.entropy import entropy_figure, shown_metrics
from entropylab.plots.figure import WIDE, draw
from entropylab.plots.series import by_method, group_key
from entropylab.plots.style import method_label, run_style
from entropylab.plots.tails import tails_figure

from .blocks import Paragraph, Picture
from .panels import in_rows, side_by_side

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from entropylab.analysis.attribution import Attribution
    from entropylab.analysis.comparison import Comparison
    from entropylab.analysis.tails import TailReport

    from .finding import Finding
    from .findings import Findings


def entropy_over_steps(findings: Findings) -> Picture:
    """Entropy, accuracy and pass@8 over the steps of all runs."""
    names = list(shown_metrics(findings.runs))
    beside = " and ".join("accuracy at temperature 1" if name == "accuracy" else name for name in names)
    counts = [f"{method_label(key)} {len(runs)}" for key, runs in by_method(findings.runs).items()]
    caption = (
        "Left: mean token entropy of the rollouts, running mean over 1/20 of the steps, single runs with "
        f"their raw values behind. Beside it: {beside} on the "
        "validation split, as evaluated. Lines are means over seeds, bands their range (no interval). "
        f"Runs: {', '.join(counts)}."
    )
    title = f"{', '.join(['Entropy', *names[:-1]])} and {names[-1]} over the steps."
    return Picture(entropy_figure(findings.runs), title, caption, key="steps")


def laws(findings: Findings) -> Iterator[Paragraph | Picture]:
    """The law of the first run of each method, side by side; a sentence where there is none."""
    return in_rows(first_of_each(findings.law), _law_row, "law", "no law was fitted")


def first_of_each(found: Sequence[Finding]) -> list[Finding]:
    """The first finding of each method, one with a result before one without."""
    chosen: dict[str, Finding] = {}
    for finding in sorted(found, key=lambda one: one.result is None):
        if finding.run is not None:
            chosen.setdefault(group_key(finding.run), finding)
    return list(chosen.values())


def _law_row(fitted: Sequence[Finding], key: str) -> Picture:
    numbers = "; ".join(f"{finding.label} {finding.result.n_points}" for finding in fitted)
    metrics = dict.fromkeys(finding.result.performance_name or ACCURACY for finding in fitted)
    performance = " and ".join("accuracy at temperature 1" if m == ACCURACY else m for m in metrics)
    caption = (
        f"Validation {performance} against exp(H), one point an evaluation, pale to full over "
        "the steps; H in nats on top. Solid: R = -a exp(H) + b where it was seen, dashed: continued to "
        "H = 0; diamond: the ceiling b - a, with its interval where that is not withheld. Inner band: "
        "interval if the law holds; outer band, dotted edges: over five curve shapes. "
        f"Points: {numbers}."
    )
    return Picture(side_by_side(fitted, _draw_law), "Performance against exp(H).", caption, key=key)


def _draw_law(finding: Finding, ax: Axes) -> None:
    method = group_key(finding.run) if finding.run else ""
    metric = finding.result.performance_name or ACCURACY
    draw_curve(finding.result, ax, style=run_style(method, method), performance=f"{metric} R")


def tails(finding: Finding, key: str) -> Paragraph | Picture:
    """Survival, tail index and concentration of one run."""
    if finding.result is None:
        return Paragraph(f"{finding.label}: the tail is not described. {finding.missing}.")
    report: TailReport = finding.result
    groups = f"{report.n_clusters:,} {report.cluster_kind}s"
    caption = (
        f"{finding.label}, {report.n:,} tokens in {groups}. Left: share of tokens beyond a covariance, both "
        "signs; dashed: if log-probability and advantage were independent. Middle: tail index of the "
        "positive side by three estimators over the share of tokens taken as the tail, "
        f"{report.level:.0%} intervals that draw whole {report.cluster_kind}s; 0 is an exponential decay. "
        "Right: share of the positive covariance that the top share of the tokens holds. "
        f"Verdict: {'; '.join(report.verdict)}."
    )
    return Picture(tails_figure(report), "The tail of the token covariance.", caption, key=key)


def who(finding: Finding, key: str) -> Paragraph | Picture:
    """Quadrants, positions and token strings of one run."""
    if finding.result is None:
        return Paragraph(f"{finding.label}: tokens are not attributed. {finding.missing}.")
    result: Attribution = finding.result
    caption = (
        f"{finding.label}, steps {result.steps[0]} to {result.steps[-1]}, {result.n:,} tokens of "
        f"{result.n_prompts:,} prompts, {result.n_selected:,} selected. Left: share of each set in the "
        "quadrants of log-probability (likely, rare: above, below its mean) and advantage, with "
        f"{result.level:.0%} intervals by prompts. Middle: where in the response. Right: token strings most "
        "enriched in the top 2 % by covariance, share there over share in all tokens."
    )
    return Picture(attribution_figure(result), "Who carries the covariance.", caption, key=key)


def comparison(finding: Finding) -> Paragraph | Picture:
    """Differences from the baseline."""
    if finding.result is None:
        return Paragraph(f"No comparison. {finding.missing}.")
    result: Comparison = finding.result
    against = "Difference from the baseline" if not result.differences.empty else "Value"
    caption = (
        f"{against} at the end of training: entropy over the last 10 steps, accuracies over the last 4 "
        "validation evaluations. Light dots: single runs or pairs of seeds; whiskers: "
        f"{result.level:.0%} t intervals over seeds, none where there is one seed."
    )
    drawing = draw(draw_comparison, result, width=WIDE * 0.72, height=2.6)
    return Picture(drawing, "Methods beside each other.", caption, key="compare")
