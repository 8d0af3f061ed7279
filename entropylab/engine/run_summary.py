"""The exact summaries of a run, made of its rows where they are not known yet, over an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..record.merging import exact_to_json, step_row, summary_frame, update_rows
from ..record.reader import Run
from ..record.step_cache import EXACT, RECOMPUTED
from ..record.step_source import StepSource
from .choice import engine_of
from .tasks import Engine

SAME = 1e-6
"""Recorded and recomputed values further apart than this, relative to their size, are told."""


@dataclass(frozen=True, eq=False)
class RunSummary:
    """What `summarize_run` found.

    `steps`, `updates`: the summaries, as `Run.steps` gives them. `computed`: steps whose rows were read now;
    `cached`: those known from before; `recorded`: those that the recorder's own summary stands for, with
    ``recompute`` because not all of their tokens are rows. `differences`: step, column, recorded, recomputed.
    `errors`: by step, why its rows could not be used; the recorded summary stands for it as far as it can.
    """

    run: str
    steps: pd.DataFrame
    updates: pd.DataFrame
    computed: int
    cached: int
    recorded: int
    differences: pd.DataFrame
    errors: dict[int, str]

    @property
    def n_tokens(self) -> int:
        """Tokens of all steps."""
        return int(self.steps["n_tokens"].sum())

    def summary(self) -> str:
        """How many steps were read, known or recorded, then what differs and what could not be read."""
        counts = f"{self.computed:,} read from their rows, {self.cached:,} known, {self.recorded:,} recorded"
        lines = [f"{len(self.steps):,} steps, {self.n_tokens:,} tokens: {counts}."]
        if len(self.differences):
            first = self.differences.iloc[0]
            where = f"{first['column']} of step {first['step']}"
            values = f"recorded {first['recorded']:.8g}, rows {first['recomputed']:.8g}"
            lines.append(
                f"{len(self.differences):,} values are not those of the rows: {where}, {values}, ..."
            )
        lines += [f"step {step}: {reason}" for step, reason in self.errors.items()]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """All figures, JSON-ready; tables as lists of rows."""
        from ..analysis.jsonable import jsonable

        return jsonable({name: getattr(self, name) for name in self.__dataclass_fields__})


def summarize_run(
    run: Run,
    *,
    engine: str | Engine = "local",
    recompute: bool = False,
    workers: int | None = None,
    memory: int | None = None,
    address: str | None = None,
    progress: Callable[[float], None] | None = None,
) -> RunSummary:
    """Make the exact summaries of all whole steps that are not known yet, and keep them.

    Without ``recompute`` rows are read only for what the recorder could not know: top means and quadrants
    over several ranks. With it every summary is made again of the rows and set beside the recorded one. The
    result does not depend on the engine to the last bit. Settings of the engine: see `engine_of`;
    ``progress`` is called with the fraction done. Raises `EngineError` where the workers fail.
    """
    if isinstance(engine, str):
        engine = engine_of(engine, workers=workers, memory=memory, address=address)
    still = run.frozen()
    sources = still.step_sources()
    wanted = [s for s in sources if s.stored and (recompute or len(s.markers) > 1)]
    known, errors, computed = _made(still, wanted, engine, recompute, progress)
    recorded = {by: still.steps(by) for by in ("step", "update")}
    made = {by: _frame(known.values(), by) for by in recorded} if recompute else {}
    frames = {by: _replaced(frame, made.get(by)) for by, frame in recorded.items()}
    return RunSummary(
        run=run.name,
        steps=frames["step"],
        updates=frames["update"],
        computed=computed,
        cached=len(known) - computed,
        recorded=len(sources) - len(known),
        differences=_differences(recorded["step"], made.get("step")),
        errors=errors,
    )


def _made(
    run: Run,
    wanted: Sequence[StepSource],
    engine: Engine,
    recompute: bool,
    progress: Callable[[float], None] | None,
) -> tuple[dict[int, dict[str, Any]], dict[int, str], int]:
    """(what is known of the wanted steps, errors, number of steps read), kept in the run's caches."""
    exact = run.step_cache(EXACT)
    cache = run.step_cache(RECOMPUTED) if recompute else exact
    known = {s.step: value for s in wanted if (value := cache.get(s)) is not None}
    waiting = [s for s in wanted if s.step not in known]
    errors: dict[int, str] = {}
    total, done = sum(s.n_tokens for s in waiting), 0
    for outcome in engine(_recomputed if recompute else _exact, waiting, total):
        source = waiting[outcome.index]
        done += source.n_tokens
        if progress is not None:
            progress(done / max(1, total))
        if outcome.value is None:
            errors[source.step] = str(outcome.error)
            continue
        known[source.step] = outcome.value
        cache.put(source, outcome.value)
        if recompute and len(source.markers) > 1:
            exact.put(source, outcome.value["exact"])
    return known, errors, len(waiting) - len(errors)


def _exact(source: StepSource) -> dict[str, Any]:
    """What does not merge over the ranks of a step, JSON-ready."""
    return exact_to_json(source.exact())


def _recomputed(source: StepSource) -> dict[str, Any]:
    """The summary rows of a step made of its token rows, JSON-ready."""
    markers, exact = source.recompute()
    rows = {"step": [step_row(markers, exact)], "update": update_rows(markers, exact)}
    return {**rows, "exact": exact_to_json(exact)}


def _frame(known: Iterable[dict[str, Any]], by: str) -> pd.DataFrame:
    return summary_frame([row for value in known for row in value[by]], by)


def _replaced(recorded: pd.DataFrame, made: pd.DataFrame | None) -> pd.DataFrame:
    """The recorded rows, those of steps that were made again in their place."""
    if made is None or made.empty:
        return recorded
    rest = recorded[~recorded["step"].isin(made["step"])]
    both = pd.concat([rest, made.reindex(columns=recorded.columns)]) if len(rest) else made
    keys = [name for name in ("step", "update") if name in both]
    return both.sort_values(keys, ignore_index=True)


def _differences(recorded: pd.DataFrame, made: pd.DataFrame | None) -> pd.DataFrame:
    columns = ["step", "column", "recorded", "recomputed"]
    if made is None or made.empty:
        return pd.DataFrame(columns=columns)
    numeric = [c for c in recorded.columns if c in made and c not in ("step", "recorded_at")]
    left = recorded.set_index("step").loc[made["step"], numeric].astype(np.float64)
    right = made.set_index("step")[numeric].astype(np.float64)
    same = np.isclose(left, right, rtol=SAME, atol=SAME**2, equal_nan=True)
    rows, places = np.nonzero(~same)
    found = {
        "step": left.index.to_numpy()[rows],
        "column": left.columns.to_numpy()[places],
        "recorded": left.to_numpy()[rows, places],
        "recomputed": right.to_numpy()[rows, places],
    }
    return pd.DataFrame(found, columns=columns).sort_values(["step", "column"], ignore_index=True)
