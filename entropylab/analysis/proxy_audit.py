"""How well cheap quantities rank tokens by their exact effect on the entropy, in one's own run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..errors import InsufficientDataError, InvalidInputError
from ..record.reader import Run
from .jsonable import jsonable
from .proxy_rankings import CONTROL, token_sets
from .proxy_tables import group_table, proxy_table, quadrant_shares, set_figures, step_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COVARIANCE = "covariance"
FRACTION = 0.02
CAUTION = (
    "A diagnostic, not a better control: clipping the tokens of lowest influence held the entropy and "
    "trained worse than Clip-Cov."
)
EXPERIMENT = (
    "In the lab (start B, 150 steps, seeds 0 and 1), clipping the 2 % of lowest influence ended at a greedy "
    "accuracy of 0.41 and 0.42 and a pass@8 of 0.58 and 0.53, Clip-Cov's band of 2 % at 0.57 and 0.60 and at "
    "0.76 and 0.76 (400 problems, standard errors of about 0.025)."
)
"""What the caution rests on."""


@dataclass(frozen=True, eq=False)
class ProxyAudit:
    """What `audit_proxies` found over the token sets (step, update) with influence.

    `proxies`: one row a quantity, and one for what the control chose, each figure with its interval:
    ``spearman`` with the influence; of the ``fraction`` of tokens that it takes to lower the entropy most:
    ``overlap`` with those that do, ``capture`` of their total effect, the share that ``raises`` it, and the
    share of all lowering effect ``saved`` by leaving them out, to first order. The correlation is the mean
    over the sets, the others are quotients of sums over them, in which each set counts alike. `quadrants`:
    shares of those that lower it most and of those of highest covariance. `by_step`: as `proxies`, of each
    step alone. `groups`: the same in thirds of the training, quadrants and bins of entropy. Intervals:
    jackknife over blocks of prompts, at `level`.
    """

    run: str
    method: str
    steps: tuple[int, ...]
    n_tokens: int
    n_sets: int
    fraction: float
    proxies: pd.DataFrame
    by_step: pd.DataFrame
    quadrants: pd.DataFrame
    groups: pd.DataFrame
    level: float = 0.95
    warnings: tuple[str, ...] = ()

    def summary(self) -> str:
        """How the covariance ranks, which quantity ranks best, what the control chose, and the caution."""
        rows = self.proxies.set_index("proxy")
        share, first = f"{100 * self.fraction:g} %", rows.loc[COVARIANCE]
        where = f"{self.n_sets} updates of the steps {self.steps[0]} to {self.steps[-1]}"
        lines = [
            f"{self.n_tokens:,} tokens in {where}.",
            f"The covariance ranks tokens as their exact effect on the entropy does with a correlation of "
            f"{_told(first, 'spearman')}; its top {share} have {_told(first, 'capture')} of the effect of "
            f"the {share} that lower it most, and {_share(first, 'raises')} of them raise it.",
            _best(rows.drop(index=CONTROL, errors="ignore")),
        ]
        if CONTROL in rows.index:
            row = rows.loc[CONTROL]
            lines.append(
                f"What {self.method} chose has {_told(row, 'capture')} of the effect of the best choice of "
                f"as many tokens; {_share(row, 'raises')} of them raise the entropy."
            )
        return "\n".join([*lines, CAUTION, *(f"warning: {w}" for w in self.warnings)])

    def to_dict(self) -> dict[str, Any]:
        """All figures, JSON-ready; tables as lists of rows."""
        return jsonable({name: getattr(self, name) for name in self.__dataclass_fields__})

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the capture of each quantity; needs matplotlib."""
        from ..plots.proxy_audit import draw_audit

        return draw_audit(self, ax)


def _best(rows: pd.DataFrame) -> str:
    """The quantity whose choice captures most; a set in which no token lowers the entropy has no capture."""
    if rows["capture"].isna().all():
        return "No token lowers the entropy, so there is no best choice."
    best = rows["capture"].idxmax()
    return f"Best of the {len(rows)}: {best}, {_told(rows.loc[best], 'capture')} of that effect."


def _told(row: pd.Series, name: str) -> str:
    """A figure with its interval; without one where there is a single prompt."""
    if pd.isna(row[name]):
        return "unknown"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{row[name]:.2f}" if pd.isna(low) else f"{row[name]:.2f} ({low:.2f} to {high:.2f})"


def _share(row: pd.Series, name: str) -> str:
    """The same of a share, as per cent."""
    if pd.isna(row[name]):
        return "an unknown share"
    low, high = (100 * row[f"{name}_{end}"] for end in ("low", "high"))
    value = f"{100 * row[name]:.0f} %"
    return value if pd.isna(low) else f"{value} ({low:.0f} to {high:.0f} %)"


def audit_proxies(
    run: Run,
    *,
    steps: int | Iterable[int] | None = None,
    fraction: float = FRACTION,
    level: float = 0.95,
) -> ProxyAudit:
    """Set cheap quantities beside the recorded influence of each token (`token_influence`, nats).

    steps: by default all with influence. fraction: of the tokens of a set that a quantity may choose.
    Raises: InvalidInputError (fraction or level outside (0, 1)), InsufficientDataError where no update has
    an influence and a finite covariance for every stored token.
    """
    for name, value in (("fraction", fraction), ("level", level)):
        if not 0 < value < 1:
            raise InvalidInputError(f"{name} is {value}: give a number between 0 and 1")
    sets = list(token_sets(run, steps))
    if not sets:
        raise InsufficientDataError(
            f"{run.name}: no update with the influence of its tokens; record it every few steps with "
            "attach(influence_every=...), Recorder(influence_every=...) or record(influence=...)"
        )
    found = [set_figures(tokens, fraction) for tokens in sets]
    return ProxyAudit(
        run=run.name,
        method=run.method,
        steps=tuple(sorted({int(t["step"].iloc[0]) for t in sets})),
        n_tokens=sum(len(t) for t in sets),
        n_sets=len(sets),
        fraction=fraction,
        proxies=proxy_table(found, level),
        by_step=step_table(found, level),
        quadrants=quadrant_shares(sets, fraction),
        groups=group_table(sets, found, fraction, level),
        level=level,
        warnings=_warnings(sets),
    )


def _warnings(sets: Sequence[pd.DataFrame]) -> tuple[str, ...]:
    notes = []
    if any((t["sampling_weight"] > 1).any() for t in sets):
        notes.append("the log holds a sample of the tokens: ranks and shares are those of the sample")
    if any(t["entropy"].isna().any() for t in sets):
        notes.append("entropies are not recorded for every token: only the covariance is ranked there")
    return tuple(notes)
