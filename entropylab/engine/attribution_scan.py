"""Which tokens a control selected and which make the tail, over every token of a run: exact at any size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import numpy as np

from ..analysis.attribution import TAIL, Attribution, attribution_notes
from ..analysis.attribution_bins import PROBABILITIES, decile_places, top_prompts_share
from ..analysis.prompt_units import STAND_IN
from ..analysis.tails import QUADRANT_TOP
from ..errors import FileChangedError, InsufficientDataError
from ..record.bit_counts import LowerCounts, UpperCounts, highest, ties
from ..record.reader import Run
from ..record.summary import top_count
from .attribution_cells import CellCounts
from .attribution_frames import (
    SETS,
    bin_rows,
    listed_ids,
    middle_places,
    position_rows,
    probability_rows,
    prompt_rows,
    quadrant_rows,
    token_rows,
)
from .attribution_rows import Edges, Tail
from .attribution_tasks import (
    Lowers,
    StepPrompts,
    StepTables,
    ids_of_step,
    lower_of_step,
    merge_columns,
    merge_lowers,
    merge_upper,
    tables_of_step,
    ties_of_step,
    upper_of_step,
)
from .choice import engine_of
from .passes import Passes
from .tasks import Engine

LEVEL = 0.95

_PASSES = 5


@dataclass(frozen=True, eq=False, kw_only=True)
class AttributionScan(Attribution):
    """What `scan_attribution` found: an `Attribution` of every token of the steps, all figures exact.

    `threshold`: the lowest covariance of the top 2 %, nats x advantage. `tenth_share`: what the tenth of the
    prompts with most of the top 2 % holds of it. `left_out`: steps of which not all tokens are rows;
    `errors`: by step, why its rows could not be used.
    """

    threshold: float
    tenth_share: float
    left_out: tuple[int, ...]
    errors: dict[int, str]

    def summary(self) -> str:
        """That of an `Attribution`, then what is left out."""
        lines = [super().summary()]
        if self.left_out:
            lines.append(f"{len(self.left_out):,} steps are left out: not all of their tokens are stored.")
        return "\n".join([*lines, *(f"step {step}: {reason}" for step, reason in self.errors.items())])


def scan_attribution(
    run: Run,
    *,
    steps: int | Iterable[int] | None = None,
    engine: str | Engine = "local",
    progress: Callable[[float], None] | None = None,
    **settings: Any,
) -> AttributionScan:
    """`attribute` over all tokens of a run, or of ``steps``, whatever their number: counts, not a sample.

    Memory grows with the prompts, not with the tokens. The result is the same to the bit over every engine;
    ties at the threshold of the top 2 % are cut by the order of steps, ranks and rows. Steps of which not all
    tokens are stored, finite and readable are left out and named. ``settings``: see `engine_of`.
    Raises RunNotFoundError for a step asked for that has no token rows, InsufficientDataError where no step
    is left, `EngineError`.
    """
    if isinstance(engine, str):
        engine = engine_of(engine, **settings)
    still = run.frozen()
    chosen = still.step_sources(steps)
    passes = Passes(engine, [s for s in chosen if s.stored and s.n_tokens], _PASSES, progress)
    upper = _upper(passes, run.name)
    lower = _lower(passes, upper)
    tail, varies = _tail(passes, upper["covariance"], lower["covariance"])
    edges = _edges(upper["entropy"], lower["entropy"])
    tables, prompts = _tables(passes, tail, edges)
    _check_same(tables, upper["covariance"].n, run.name)
    listed = listed_ids(tables.totals.ids)
    ids = sorted({token for tokens in listed.values() for token in tokens})
    cells, lowers = _ids(passes, tail, ids, tables)
    n, n_selected, n_tail = (tables.cells["quadrant"].size(s) for s in range(len(SETS)))
    by_prompt = prompt_rows(prompts)
    return AttributionScan(
        run=run.name,
        method=run.method,
        steps=tuple(s.step for s in passes.sources),
        n=n,
        n_prompts=len(by_prompt),
        n_selected=n_selected,
        selected_share=n_selected / n,
        n_tail=n_tail,
        quadrants=quadrant_rows(tables, LEVEL),
        positions=position_rows(tables.totals),
        tokens=token_rows(cells, listed, ids, run.vocabulary, LEVEL),
        probability=probability_rows(tables, lowers),
        bins=bin_rows(tables.cells, edges, LEVEL),
        prompts=by_prompt,
        level=LEVEL,
        warnings=(
            *([STAND_IN] if any(p.unnamed for p in prompts) else ()),
            *attribution_notes(selected=n_selected > 0, ids=len(tables.totals.ids.ids) > 0, varies=varies),
        ),
        threshold=tail.threshold,
        tenth_share=top_prompts_share(by_prompt, TAIL),
        left_out=tuple(s.step for s in chosen if not s.stored),
        errors=passes.errors,
    )


def _upper(passes: Passes, name: str) -> dict[str, UpperCounts]:
    """Upper counts of covariance and entropy over all steps that can be read."""
    parts = (counts for _, counts in passes.do(upper_of_step, first=True))
    first = next(parts, None)
    if first is None:
        reason = next(iter(passes.errors.values()), "record without token_sampling")
        raise InsufficientDataError(f"{name}: no step whose tokens are all stored and finite ({reason})")
    return reduce(merge_upper, parts, first)


def _lower(passes: Passes, upper: Mapping[str, UpperCounts]) -> dict[str, LowerCounts]:
    """Lower counts for the threshold of the tail and the edges of the entropy's bins."""
    covariance, entropy = upper["covariance"], upper["entropy"]
    wanted = {
        "covariance": {covariance.place(top_count(QUADRANT_TOP, covariance.n))[0]},
        "entropy": {entropy.place(k)[0] for k in _edge_ranks(entropy)},
    }
    return reduce(merge_columns, (found for _, found in passes.do(partial(lower_of_step, uppers=wanted))))


def _tail(passes: Passes, upper: UpperCounts, lower: LowerCounts) -> tuple[Tail, bool]:
    """(the top 2 % by covariance, whether the covariance varies at all)."""
    k = top_count(QUADRANT_TOP, upper.n)
    threshold, (inside, tied) = highest(upper, lower, k), ties(upper, lower, k)
    if inside == tied:
        passes.skip()
        return Tail(threshold), tied < upper.n
    sources = passes.sources
    for place, count in sorted(passes.do(partial(ties_of_step, threshold=threshold))):
        if count >= inside:
            return Tail(threshold, sources[place].step, inside), tied < upper.n
        inside -= count
    raise FileChangedError(f"{sources[0].address}: its token rows changed while they were read; scan again")


def _edges(entropy: UpperCounts, lower: LowerCounts) -> Edges:
    """Edges of the bins of probability and, where it is recorded and varies, of entropy."""
    edges = np.unique([highest(entropy, lower, k) for k in _edge_ranks(entropy)])
    found = {"probability": np.array(PROBABILITIES)}
    return found | {"entropy": edges} if len(edges) > 1 else found


def _edge_ranks(entropy: UpperCounts) -> list[int]:
    """k of the k-th highest values at the deciles; none of no value."""
    return (entropy.n - decile_places(entropy.n)).tolist() if entropy.n else []


def _tables(passes: Passes, tail: Tail, edges: Edges) -> tuple[StepTables, list[StepPrompts]]:
    """(the tables over all steps, the prompts of each in the order of the steps)."""
    prompts: dict[int, StepPrompts] = {}

    def counted() -> Iterator[StepTables]:
        for place, (tables, found) in passes.do(partial(tables_of_step, tail=tail, edges=edges)):
            prompts[place] = found
            yield tables

    merged = reduce(StepTables.merge, counted())
    return merged, [prompts[place] for place in sorted(prompts)]


def _check_same(tables: StepTables, n: int, name: str) -> None:
    """`FileChangedError` unless the tables are of the tokens that the first pass counted."""
    size = tables.cells["quadrant"].size
    if (size(0), size(2)) != (n, top_count(QUADRANT_TOP, n)):
        raise FileChangedError(f"{name}: its token rows changed while they were read; scan again")


def _ids(passes: Passes, tail: Tail, ids: list[int], tables: StepTables) -> tuple[CellCounts, Lowers]:
    """(token ids by prompt, the lower counts for the medians)."""
    uppers = [[{u.place(k)[0] for k in middle_places(u)} for u in of_set] for of_set in tables.totals.upper]
    task = partial(ids_of_step, tail=tail, ids=ids, uppers=uppers)
    return reduce(_merge_ids, (found for _, found in passes.do(task)))


def _merge_ids(a: tuple[CellCounts, Lowers], b: tuple[CellCounts, Lowers]) -> tuple[CellCounts, Lowers]:
    return a[0].merge(b[0]), merge_lowers(a[1], b[1])
