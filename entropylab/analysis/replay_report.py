"""What another control, or another micro-batch size, would have selected on a recorded run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ..errors import InsufficientDataError, InvalidInputError, UnknownNameError
from ..record.reader import Run
from ..record.step_source import StepSource
from ..schema import QUADRANTS
from .jsonable import jsonable
from .replay_tally import Tally
from .replay_tokens import COLUMNS, UpdateTokens, update_tokens
from .tail_data import DEFAULT_STEPS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..losses.interfaces import SelectingControl

PIECES = (32, 8, 1)
"""Responses of the micro-batches that are replayed unless others are asked for."""


@dataclass(frozen=True, eq=False)
class Replay:
    """What `replay` found. Shares are over all updates together.

    `updates`: one row a (step, update): n_tokens, chosen by the replayed control, selected in the log, both;
    fraction (chosen over tokens), mass_removed (chosen share of Σ max(c, 0)), and chosen tokens by quadrant.
    `pieces`: one row a micro-batch size, ``responses``: updates, n_pieces, chosen, fraction, overlap (share
    of the whole-batch choice that is chosen too), extra (share of its own choice that the whole batch does
    not make), covariance_error (root mean square deviation of the covariance from the whole batch's, over its
    standard deviation). `overlap`: chosen and selected over chosen or selected; None where neither is any.
    """

    run: str
    method: str
    control: str
    steps: tuple[int, ...]
    n_tokens: int
    n_chosen: int
    n_selected: int
    overlap: float | None
    fraction: float
    mass_removed: float
    quadrants: dict[str, int]
    updates: pd.DataFrame
    pieces: pd.DataFrame
    warnings: tuple[str, ...] = ()

    def summary(self) -> str:
        """What would have been chosen, how it meets what was, the micro-batches, warnings."""
        where = f"{len(self.updates):,} updates of the steps {self.steps[0]} to {self.steps[-1]}"
        lines = [
            f"{self.control} would choose {self.n_chosen:,} of {self.n_tokens:,} tokens "
            f"({100 * self.fraction:.3g} %) in {where}, which hold {100 * self.mass_removed:.3g} % of the "
            "positive covariance."
        ]
        if self.n_selected:
            lines.append(
                f"The run selected {self.n_selected:,}; overlap (both over either) {self.overlap:.3g}."
            )
        lines += [_piece_line(row) for row in self.pieces.itertuples()]
        return "\n".join([*lines, *(f"warning: {w}" for w in self.warnings)])

    def to_dict(self) -> dict[str, Any]:
        """All figures, JSON-ready; tables as lists of rows."""
        return jsonable({name: getattr(self, name) for name in self.__dataclass_fields__})

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the overlap with the whole-batch choice over the micro-batch size; needs matplotlib."""
        from ..plots.replay import draw_replay

        return draw_replay(self, ax)


def replay(
    run: Run,
    control: Any,
    *,
    steps: int | Iterable[int] | None = None,
    micro_batches: Sequence[int] = PIECES,
    seed: int | None = None,
    engine: Callable[..., Iterable[Any]] | None = None,
) -> Replay:
    """Apply a control that chooses tokens to the logged ones: on whole updates, and on micro-batches of them.

    control: `ClipCov`, `KLCov`, ... or a key of `METHODS`. steps: default the first 20 with token rows.
    micro_batches: numbers of responses; those of a whole update or more are left out. seed: of random draws,
    by default the run's own (``config["seed"]``, else 0). engine: what maps the steps, of
    `engine.choice.engine_of`; by default they are done one after another, here.
    Raises: InvalidInputError (a control that chooses no tokens, a size below 1), UnknownNameError,
    MissingInputError (logprobs that the control needs are not recorded), InsufficientDataError (no update
    whose tokens are all stored).
    """
    return replay_beside(
        run, control, (), steps=steps, micro_batches=micro_batches, seed=seed, engine=engine
    )[0]


def replay_beside(
    run: Run,
    control: Any,
    others: Iterable[Any],
    *,
    steps: int | Iterable[int] | None = None,
    micro_batches: Sequence[int] = PIECES,
    seed: int | None = None,
    engine: Callable[..., Iterable[Any]] | None = None,
) -> tuple[Replay, ...]:
    """`replay` of a control, then of others on whole updates alone; the tokens are read once."""
    if any(size < 1 for size in micro_batches):
        raise InvalidInputError(f"micro_batches is {tuple(micro_batches)}: numbers of responses start at 1")
    seed = _own_seed(run) if seed is None else seed
    tallies = [Tally(*_control_of(control), micro_batches, seed)]
    tallies += [Tally(*_control_of(other), (), seed) for other in others]
    sources = _sources(run, steps)
    work = partial(_tallied, tallies=tallies, logged_on=_logged_on(run))
    found = [work(source) for source in sources] if engine is None else _mapped(engine, work, sources)
    for parts in found:
        for tally, part in zip(tallies, parts, strict=True):
            tally.merge(part)
    return tuple(_report(run, tally) for tally in tallies)


def _mapped(
    engine: Callable[..., Iterable[Any]],
    work: Callable[[StepSource], list[Tally]],
    sources: Sequence[StepSource],
) -> list[list[Tally]]:
    """What an engine makes of the steps, in their order; the first error of the data is raised."""
    outcomes = sorted(engine(work, sources, sum(s.n_tokens for s in sources)), key=lambda o: o.index)
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return [outcome.value for outcome in outcomes]


def _tallied(source: StepSource, tallies: Sequence[Tally], logged_on: str) -> list[Tally]:
    """What the controls of empty tallies choose on one step."""
    found = [replace(tally, rows=[], parts={}) for tally in tallies]
    for rows in _updates(source):
        seen: dict[str, UpdateTokens] = {}
        for tally in found:
            on = tally.control.covariance_on
            if rows is not None and on not in seen:
                seen[on] = update_tokens(rows, on, logged_on)
            tally.add(seen.get(on))
    return found


def _own_seed(run: Run) -> int:
    """The seed in the run's settings; 0 where there is none that is a whole number."""
    try:
        return int(run.config.get("seed") or 0)
    except (TypeError, ValueError, OverflowError):
        return 0


def _control_of(control: Any) -> tuple[str, SelectingControl]:
    from ..losses.interfaces import chooses_tokens
    from ..losses.methods import METHODS

    name = type(control).__name__
    if isinstance(control, str):
        if control not in METHODS:
            raise UnknownNameError(f"method {control!r} does not exist: take one of {', '.join(METHODS)}")
        name, control = control, METHODS[control].control
    if not chooses_tokens(control):
        choosing = [key for key, row in METHODS.items() if chooses_tokens(row.control)]
        raise InvalidInputError(f"{name} chooses no tokens to replay; these do: {', '.join(choosing)}")
    return name, control


def _sources(run: Run, steps: int | Iterable[int] | None) -> list[StepSource]:
    """The steps to replay, by default the first with token rows; RunNotFoundError for one without."""
    chosen = run.token_steps()[:DEFAULT_STEPS] if steps is None else steps
    numbers = [int(chosen)] if isinstance(chosen, int | np.integer) else [int(step) for step in chosen]
    held = {source.step: source for source in run.step_sources(numbers)}
    return [held[step] for step in numbers]


def _updates(source: StepSource) -> Iterator[pd.DataFrame | None]:
    """The rows of each update of a step; None where some of its tokens are not stored."""
    counts: dict[int, int] = {}
    for summary in (u for m in source.markers for u in m.updates):
        counts[summary.update] = counts.get(summary.update, 0) + summary.partial.n_tokens
    frame = pa.Table.from_batches(source.rows("tokens", COLUMNS)).to_pandas()
    for update, rows in frame.groupby("update", sort=True):
        whole = len(rows) == counts.get(update, -1) and np.isfinite(rows["covariance"]).all()
        yield rows if whole else None


def _logged_on(run: Run) -> str:
    """The logprobs that the logged covariance is of."""
    control = run.config.get("control")
    first = control[0] if isinstance(control, list) and control else control
    return str(first.get("covariance_on", "current")) if isinstance(first, dict) else "current"


def _report(run: Run, tally: Tally) -> Replay:
    if not tally.rows:
        raise InsufficientDataError(
            f"{run.name}: no update whose tokens are all stored, and a choice depends on all of them; record "
            "without token_sampling, or with every_steps only"
        )
    updates = tally.updates()
    total = updates.sum()
    either = int(total["chosen"] + total["selected"] - total["both"])
    held = float(total["positive_mass"])
    return Replay(
        run=run.name,
        method=run.method,
        control=tally.name,
        steps=tuple(sorted({int(s) for s in updates["step"]})),
        n_tokens=int(total["n_tokens"]),
        n_chosen=int(total["chosen"]),
        n_selected=int(total["selected"]),
        overlap=float(total["both"] / either) if either else None,
        fraction=float(total["chosen"] / total["n_tokens"]),
        mass_removed=float(total["chosen_mass"] / held) if held > 0 else float("nan"),
        quadrants={q: int(total[q]) for q in QUADRANTS},
        updates=updates,
        pieces=tally.pieces(),
        warnings=_warnings(run, tally),
    )


def _piece_line(row: Any) -> str:
    seen = f"Seen {row.responses} response{'s' * (row.responses > 1)} at a time"
    off = f"the covariance is off by {row.covariance_error:.2g} of its deviation."
    if not row.chosen:
        return f"{seen} it chooses nothing; {off}"
    own = f"{100 * row.extra:.3g} % of its own that the whole batch does not make"
    whole = f"{100 * row.overlap:.3g} % of the whole-batch choice, and " if np.isfinite(row.overlap) else ""
    return f"{seen} it chooses {row.chosen:,} ({100 * row.fraction:.3g} %): {whole}{own}; {off}"


def _warnings(run: Run, tally: Tally) -> tuple[str, ...]:
    from ..losses.settings import to_dict

    notes = []
    if tally.left_out:
        notes.append(f"{tally.left_out} updates are left out: not all of their tokens are stored, or finite")
    if tally.unclipped:
        notes.append("the log does not say which tokens the ratio clip held, so none is taken as clipped")
    updates = pd.DataFrame(tally.rows)
    same = run.config.get("control") == to_dict(tally.control)
    missed = int(updates["selected"].sum() - updates["both"].sum())
    if same and (missed or updates["chosen"].sum() != updates["selected"].sum()):
        notes.append(
            "the run's own control chooses other tokens here than it did: it chose on another set "
            "(micro-batches), with another seed, or was let go"
        )
    return tuple(notes)
