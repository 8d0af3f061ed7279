"""The page of the snapshot from its stored figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from markdown_tables import markdown

Figures = Mapping[str, Any]

PAPER = {2e-4: 5.654, 2e-3: 3.112, 2e-2: 1.385, 0.2: 0.351, 0.5: 0.152, 1.0: 0.003}
"""Mean covariance of the top tokens, Qwen2.5-7B at step 1 (arXiv 2505.22617, table 1)."""

UNIT = 0.2
"""The fraction whose mean the others are also given in, which tells the shape of the tail from its scale."""

QUADRANTS = {
    "low_below": "low p, A < mean",
    "low_above": "low p, A > mean",
    "high_above": "high p, A > mean",
    "high_below": "high p, A < mean",
}
WHOSE = (
    "Exact, to first order: one step of SGD on the tokens named, and the mean entropy of those same tokens, "
    "which flatters every ranking (docs/influence.md). Intervals by prompts. The row `output layer alone` "
    "ranks the same tokens by their effect on the whole batch's entropy through that layer."
)
STATISTICS = {
    "mean": "mean covariance",
    "top_mean_0.002": "mean of the top 0.2 %",
    "top_mean_0.02": "mean of the top 2 %",
    "top_share_positive_0.02": "share of the top 2 % in the positive mass",
    "xi_0.01": "ξ of the top 1 %",
}


def page(found: Figures) -> str:
    """All tables as one page of Markdown."""
    parts = [
        "## One batch of a pretrained model",
        _batch(found["batch"]),
        "### Mean covariance of the top tokens",
        _top_means(found["top_means"]),
        _verdict(found),
        _surprisal(found["surprisal"]),
        "### Advantages permuted over the responses of a prompt",
        _permutation(found["permutation"]),
        "### Who is in the top 2 %",
        _quadrants(found["quadrants"]),
        _examples(found["examples"]),
        "### Influence on the entropy",
        WHOSE,
        *(text for part in found["influence"] for text in (_influence_note(part), _proxies(part))),
        _lowest(found["influence"]),
    ]
    return "\n\n".join(parts) + "\n"


def _batch(b: Figures) -> str:
    mixed = (
        f"{b['tokens_mixed']:,} of them in the {b['mixed_prompts']} prompts with right and wrong responses"
    )
    return (
        f"{b['model']} ({b['parameters']:,} parameters, {b['weights']}; {b['vocabulary']:,} tokens), not "
        f"trained here. {b['prompts']} prompts of {b['group']} responses at temperature 1, seed {b['seed']}, "
        f"at most {b['length']} tokens: each is to be a short sentence with two given words, which code "
        f"verifies. {b['tokens']:,} tokens, {mixed}; {b['right']:.0%} right; {b['ended']:.0%} ended; mean "
        f"entropy {b['entropy']:.2f} nats, mean log-probability {b['logprob']:.2f}. One model, one task and "
        "one batch: nothing here says what training would do, and the paper's figures are of another model, "
        "task and length."
    )


def _top_means(rows: list[Figures]) -> str:
    columns = ["tokens", "k", "mean [95 %]", "paper", f"over the {_name(UNIT)}", "paper's"]
    columns += ["independent (N1)", "ratio [95 %]", "p"]
    (unit,) = (row["mean"] for row in rows if row["fraction"] == UNIT)
    cells = [
        [
            _name(row["fraction"]),
            f"{row['k']:,}",
            _interval(row["mean"], row["low"], row["high"], ".3f"),
            f"{PAPER[row['fraction']]:.3f}",
            f"{row['mean'] / unit:.2f}",
            f"{PAPER[row['fraction']] / PAPER[UNIT]:.2f}",
            _number(row["independent"], ".3f"),
            _interval(row["ratio"], row["ratio_low"], row["ratio_high"], ".2f"),
            _p(row["p"]),
        ]
        for row in rows
    ]
    return markdown(columns, cells)


def _name(fraction: float) -> str:
    return "all" if fraction == 1 else f"top {100 * fraction:g} %"


def _verdict(found: Figures) -> str:
    lines = [f"* {head}: {why}" for head, why in zip(found["verdict"], found["explanations"], strict=True)]
    lines += [f"* Left tail: {found['left_shape']}.", *(f"* {w}" for w in found["warnings"])]
    return "\n".join(lines)


def _surprisal(s: Figures) -> str:
    return (
        f"The rarest of the {s['n']:,} tokens has -log p = {s['largest']:.1f} nats; sampling at "
        f"temperature 1 puts fewer than one beyond ln V + ln n = {s['limit']:.1f}."
    )


def _permutation(rows: list[Figures]) -> str:
    cells = [
        [
            STATISTICS[row["statistic"]],
            _number(row["observed"], ".3f"),
            _interval(row["permuted"], row["permuted_low"], row["permuted_high"], ".3f"),
            _p(row["p"]),
        ]
        for row in rows
        if row["statistic"] in STATISTICS and row["observed"] is not None
    ]
    return markdown(["statistic", "observed", "permuted (N2) [95 %]", "p (199 permutations)"], cells)


def _quadrants(rows: list[Figures]) -> str:
    share = {(row["set"], row["quadrant"]): row for row in rows}
    cells = [
        [
            text,
            *(
                _interval(row["share"], row["share_low"], row["share_high"], ".0%")
                for row in (share[name, quadrant] for name in ("all", "top 2 %"))
            ),
        ]
        for quadrant, text in QUADRANTS.items()
    ]
    return markdown(["quadrant", "of all tokens [95 %]", "of the top 2 % [95 %]"], cells)


def _examples(rows: list[Figures]) -> str:
    cells = [
        [
            row["question"],
            f"{_code(row['before'])} **{_code(row['token'])}**",
            "right" if row["reward"] else "wrong",
            f"{row['probability']:.2g}",
            f"{row['advantage']:+.2f}",
            f"{row['covariance']:.2f}",
        ]
        for row in rows
    ]
    columns = ["question", "response, **token**", "response is", "p", "A", "covariance"]
    return "The highest of each quadrant that is in the top 2 %, one a response:\n\n" + markdown(
        columns, cells
    )


def _code(text: str) -> str:
    """Text as code inside a table."""
    return f"`{text}`".replace("|", "\\|").replace("\n", "⏎") if text else ""


def _influence_note(part: Figures) -> str:
    return (
        f"**{part['name']}**: {part['tokens']:,} tokens of {part['prompts']} prompts, by {part['route']}, in "
        f"{part['seconds']:.0f} s ({part['cost']:.1f} gradients of the loss). The tokens' sum is "
        f"{part['current']:+.3g} nats per unit of learning rate, the sum of their absolute effects "
        f"{part['absolute']:.3g}, and the error of its check {part['error']:.1g} of that."
    )


def _proxies(part: Figures) -> str:
    figures: dict[str, Callable[[Figures], str]] = {
        "spearman": lambda row: _bounds(row, "spearman", ".2f"),
        "overlap": lambda row: _bounds(row, "overlap", ".2f"),
        "capture": lambda row: _bounds(row, "capture", ".2f"),
        "raise H": lambda row: _bounds(row, "raises", ".0%"),
    }
    cells = [[row["proxy"], *(tell(row) for tell in figures.values())] for row in part["proxies"]]
    return markdown(["top 2 % by", *(f"{name} [95 %]" for name in figures)], cells)


def _bounds(row: Figures, name: str, form: str) -> str:
    return _interval(row[name], row.get(f"{name}_low"), row.get(f"{name}_high"), form)


def _lowest(parts: list[Figures]) -> str:
    cells = [
        [text, *(f"{part['lowest_quadrants'][quadrant]:.0%}" for part in parts)]
        for quadrant, text in QUADRANTS.items()
    ]
    columns = ["the 2 % that lower H most", *(part["name"] for part in parts)]
    return markdown(columns, cells)


def _interval(value: float | None, low: float | None, high: float | None, form: str) -> str:
    if value is None:
        return ""
    return format(value, form) if low is None else f"{value:{form}} [{low:{form}}, {high:{form}}]"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _p(value: float | None) -> str:
    return "" if value is None else "< 0.001" if value < 0.001 else f"{value:.2g}"
