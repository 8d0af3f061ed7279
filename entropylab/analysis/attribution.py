"""Which tokens a control selected, and which make the tail: quadrants, positions, strings, probabilities."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..record.reader import Run
from ..record.summary import top_count
from .attribution_bins import bin_table, prompt_table, top_prompts_share
from .attribution_tables import position_table, probability_table, quadrants_of, token_table, tokens_of
from .concentration import top_mask, whole_size
from .jsonable import jsonable
from .tail_data import run_tokens
from .tails import QUADRANT_TOP

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ALL, SELECTED, TAIL = "all", "selected", "top 2 %"
"""The sets of tokens that are set side by side; the tail is the top 2 % by covariance."""

_COLUMNS = ("position", "token_id", "entropy", "selected")

_WORDS = {
    "high_above": "of high probability and above-average advantage",
    "high_below": "of high probability and below-average advantage",
    "low_above": "of low probability and above-average advantage",
    "low_below": "of low probability and below-average advantage",
}


@dataclass(frozen=True, eq=False)
class Attribution:
    """What `attribute` found. Tables have one row a quadrant, bin, token id, or set.

    `quadrants`: count, share with its interval, mass, mean covariance. `positions`: counts and shares over
    the response. `tokens`: the most frequent ids of the selected and of the tail, with their enrichment over
    all, p, and q (false discovery rate over all that are listed). `bins`: enrichment in bins of probability
    and entropy. `prompts`: tokens of each prompt in the sets. `probability`: means and medians of
    probability, entropy, advantage and covariance. High and low, above and below: against
    the mean of the token set (step, update). Intervals are at `level`, by prompts. `n_rows`: the tokens
    analysed where the log holds a sample; every count, share and mean is then a weighted estimate.
    """

    run: str
    method: str
    steps: tuple[int, ...]
    n: int
    n_prompts: int
    n_selected: int
    selected_share: float
    n_tail: int
    quadrants: pd.DataFrame
    positions: pd.DataFrame
    tokens: pd.DataFrame
    probability: pd.DataFrame
    bins: pd.DataFrame
    prompts: pd.DataFrame
    level: float = 0.95
    warnings: tuple[str, ...] = ()
    n_rows: int | None = None

    @property
    def estimated(self) -> bool:
        """Whether the figures are estimated from a sample of the tokens."""
        return self.n_rows is not None

    def summary(self) -> str:
        """Who is in the tail and who was selected, then the enriched tokens and the warnings."""
        sample = f" (estimated from a sample of {self.n_rows:,})" if self.n_rows is not None else ""
        where = f"steps {self.steps[0]} to {self.steps[-1]}, {self.n:,} tokens{sample}, "
        where += f"{self.n_prompts:,} prompts"
        lines = [f"{self._most(TAIL)} ({where})."]
        if self.n_selected:
            size = f"{self.n_selected:,} tokens, {100 * self.selected_share:.2g} % of all"
            lines.append(f"{self._most(SELECTED)} ({size}).")
        else:
            lines.append(f"No token was selected (method {self.method}).")
        lines += [text for name in (TAIL, SELECTED) if (text := self._enriched(name))]
        share = top_prompts_share(self.prompts, TAIL)
        lines.append(f"A tenth of the prompts holds {100 * share:.0f} % of the top 2 %.")
        return "\n".join([*lines, *(f"warning: {w}" for w in self.warnings)])

    def _most(self, name: str) -> str:
        rows = self.quadrants[self.quadrants["set"] == name]
        row = rows.loc[rows["share"].idxmax()]
        share, low, high = (100 * row[key] for key in ("share", "share_low", "share_high"))
        noun = "tokens of highest covariance (top 2 %)" if name == TAIL else "selected tokens"
        return f"{share:.0f} % ({low:.0f} to {high:.0f} %) of the {noun} are {_WORDS[row['quadrant']]}"

    def _enriched(self, name: str) -> str:
        found = (self.tokens["q"] < 1 - self.level) & (self.tokens["enrichment"] > 1)
        rows = self.tokens[(self.tokens["set"] == name) & found]
        if rows.empty:
            return ""
        best = rows.nlargest(3, "enrichment").itertuples()
        parts = [
            f"{_label(r.token, r.token_id)} x{r.enrichment:.1f} ({r.low:.1f} to {r.high:.1f})" for r in best
        ]
        return f"Enriched in {name}: {', '.join(parts)}."

    def to_dict(self) -> dict[str, Any]:
        """All figures, JSON-ready; tables as lists of rows."""
        return jsonable({name: getattr(self, name) for name in self.__dataclass_fields__})

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the quadrants of the sets; needs matplotlib."""
        from ..plots.attribution import draw_attribution

        return draw_attribution(self, ax)


def _label(token: str | None, token_id: int) -> str:
    return f"id {token_id}" if token is None else repr(token)


def attribute(run: Run, *, steps: int | Iterable[int] | None = None) -> Attribution:
    """Set the selected tokens and the top 2 % by covariance against all tokens of a run.

    Args: run; steps (default: the first 20 that have token rows). Returns: an `Attribution`.
    Of more than 4 million rows it is a weighted estimate; `scan_attribution` counts them all.
    Raises: RunNotFoundError where there are no token rows.
    """
    tokens = run_tokens(run, steps, _COLUMNS)
    frame, w = tokens.frame, tokens.weights
    n = len(frame) if w is None else whole_size(w.sum())
    selected = frame["selected"].to_numpy(dtype=bool)
    tail = top_mask(frame["covariance"].to_numpy(np.float64), top_count(QUADRANT_TOP, n), w)
    sets = {ALL: np.ones(len(frame), dtype=bool), SELECTED: selected, TAIL: tail}
    chosen = {name: mask for name, mask in sets.items() if name != ALL}
    return Attribution(
        run=run.name,
        method=run.method,
        steps=tokens.steps,
        n=n,
        n_prompts=int(frame["prompt"].max()) + 1,
        n_selected=tokens_of(selected, w),
        selected_share=float(np.average(selected, weights=w)),
        n_tail=tokens_of(tail, w),
        quadrants=quadrants_of(frame, sets, 0.95, w),
        positions=position_table(frame["position"].to_numpy(), sets, w),
        tokens=token_table(frame, chosen, run.vocabulary, 0.95, w),
        probability=probability_table(frame, sets, w),
        bins=bin_table(frame, chosen, 0.95, w),
        prompts=prompt_table(frame, {TAIL: tail, SELECTED: selected}, w),
        warnings=(*tokens.warnings, *_notes(frame)),
        n_rows=None if w is None else len(frame),
    )


def attribution_notes(*, selected: bool, ids: bool, varies: bool) -> list[str]:
    """What a reader must know where no token is selected, none has an id, or all covariances are the same."""
    notes = {
        "no token was selected in these steps, so only the tail is described": selected,
        "token ids were not recorded, so no token strings are listed": ids,
        "the covariance is the same for every token, so the top 2 % is arbitrary": varies,
    }
    return [note for note, fine in notes.items() if not fine]


def _notes(frame: pd.DataFrame) -> list[str]:
    return attribution_notes(
        selected=bool(frame["selected"].any()),
        ids=bool(frame["token_id"].notna().any()),
        varies=frame["covariance"].nunique() > 1,
    )
