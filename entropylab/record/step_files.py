"""One rank's step as files: token rows, response rows, and the marker that is written last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pyarrow as pa

from ..schema import RESPONSE_COLUMNS, TOKEN_COLUMNS, arrow_schema
from .covariance_set import find_covariance_set
from .files import Location
from .inclusion import inclusion
from .marker import FileRef, Marker, UpdateSummary
from .paths import MARKERS, RESPONSES, TOKENS, rank_file
from .pieces import Piece
from .run_info import now
from .summary import Partial, centre_of, quadrants, summarize, top_means
from .token_sampling import TokenSampling
from .writer import write_json, write_parquet


@dataclass(frozen=True)
class Origin:
    """Who writes: the run's folder, the rank, its attempt and when that began, and the number of ranks."""

    folder: Location
    rank: int
    attempt: int
    world_size: int
    started: str


def load_arrow() -> None:
    """Load now what pyarrow loads at its first conversion: a thread cannot while the interpreter ends."""
    pa.scalar(0)


def write_step(
    origin: Origin,
    step: int,
    pieces: Sequence[Piece],
    sampling: TokenSampling,
    run_attempt: int | None = None,
) -> Marker:
    """Write the files of one step; when it returns the step is durable."""
    pieces = fill_covariance(sorted(pieces, key=lambda p: (p.update, p.micro_step)))
    tokens = _write(origin, TOKENS, step, token_table(step, origin.rank, pieces, sampling))
    responses = _write(origin, RESPONSES, step, response_table(step, origin.rank, pieces))
    marker = Marker(
        step=step,
        rank=origin.rank,
        attempt=origin.attempt,
        world_size=origin.world_size,
        attempt_started=origin.started,
        created=now(),
        tokens=tokens,
        responses=responses,
        n_tokens=sum(p.tokens.logprob.size for p in pieces),
        top_means=top_means(_joined(pieces, "covariance")),
        updates=tuple(
            summarize_update(update, list(group), origin.world_size)
            for update, group in groupby(pieces, lambda p: p.update)
        ),
        run_attempt=run_attempt,
    )
    write_json(origin.folder / rank_file(MARKERS, step, origin.rank, origin.attempt), marker.to_json())
    return marker


def fill_covariance(pieces: Sequence[Piece]) -> list[Piece]:
    """covᵢ = (lᵢ - mean l)(Aᵢ - mean A) for pieces whose loss gave none (arXiv 2505.22617, eq. 9).

    Means over all tokens of the update on this rank, in float64.
    """
    filled = []
    for _, group in groupby(pieces, lambda p: p.update):
        update = list(group)
        if all(p.has_covariance for p in update):
            filled += update
            continue
        l, a = (_joined(update, name).astype(np.float64) for name in ("logprob", "advantage"))
        centre = (l.mean(), a.mean()) if l.size else (0.0, 0.0)
        filled += [p if p.has_covariance else p.with_covariance(_covariance(p, *centre)) for p in update]
    return filled


def _covariance(piece: Piece, mean_logprob: float, mean_advantage: float) -> np.ndarray:
    l, a = piece.tokens.logprob.astype(np.float64), piece.tokens.advantage.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        return ((l - mean_logprob) * (a - mean_advantage)).astype(np.float32)


def summarize_update(update: int, pieces: Sequence[Piece], world_size: int) -> UpdateSummary:
    """The exact summary of one update from all its pieces on this rank."""
    partial = Partial()
    for piece in pieces:
        partial = partial.merge(summarize(piece.tokens))
    metrics, nonfinite = _mean_metrics(pieces)
    logprob, advantage, covariance, selected = (
        _joined(pieces, name) for name in ("logprob", "advantage", "covariance", "selected")
    )
    quarters = quadrants(logprob, advantage, covariance, selected, centre_of(logprob, advantage))
    return UpdateSummary(
        update=update,
        partial=partial.merge(Partial(nonfinite_count=nonfinite)),
        exact={**top_means(covariance), **quarters},
        metrics=metrics,
        covariance_set=find_covariance_set(pieces, world_size),
    )


def _mean_metrics(pieces: Sequence[Piece]) -> tuple[dict[str, float | None], int]:
    """Mean over the micro-steps that gave it of each scalar, and how many scalars were not finite."""
    given: dict[str, list[float]] = {}
    for piece in pieces:
        for name, value in piece.metrics.items():
            given.setdefault(name, []).append(value)
    means = {name: float(np.mean(values)) for name, values in given.items()}
    nonfinite = sum(int(np.count_nonzero(~np.isfinite(values))) for values in given.values())
    return {name: mean if np.isfinite(mean) else None for name, mean in means.items()}, nonfinite


def _joined(pieces: Sequence[Piece], name: str) -> np.ndarray:
    return np.concatenate([getattr(p.tokens, name) for p in pieces])


def _write(origin: Origin, kind: str, step: int, table: pa.Table) -> FileRef | None:
    """Write a table where it has rows."""
    if table.num_rows == 0:
        return None
    name = rank_file(kind, step, origin.rank, origin.attempt)
    write_parquet(origin.folder / name, table)
    return FileRef(name, table.num_rows)


def token_table(step: int, rank: int, pieces: Sequence[Piece], sampling: TokenSampling) -> pa.Table:
    """The token rows that are stored of a step."""
    schema = arrow_schema(TOKEN_COLUMNS)
    if not sampling.stores(step):
        return schema.empty_table()
    included = zip(pieces, inclusion(step, pieces, sampling), strict=True)
    return pa.concat_tables([_token_rows(step, rank, p, *kept) for p, kept in included]).cast(schema)


def _token_rows(step: int, rank: int, piece: Piece, keep: np.ndarray, weights: np.ndarray | None) -> pa.Table:
    """The rows of the tokens to ``keep``, with the sampling weights of those."""
    t = piece.tokens
    columns = {
        "step": step,
        "update": piece.update,
        "micro_step": piece.micro_step,
        "rollout": piece.rollout,
        "rank": rank,
        "sample_id": piece.sample_id[t.response],
        "prompt_id": piece.prompt_id[t.response],
        "position": piece.position,
        "token_id": piece.token_id,
        "logprob": t.logprob,
        "old_logprob": t.old_logprob,
        "ref_logprob": t.ref_logprob,
        "entropy": t.entropy,
        "entropy_after": t.entropy_after,
        "advantage": t.advantage,
        "reward": None if t.reward is None else t.reward[t.response],
        "covariance": t.covariance,
        "influence": t.influence,
        "selected": t.selected,
        "clipped": t.clipped,
        "weight": piece.weight,
    }
    if not keep.all():
        columns = {name: x[keep] if isinstance(x, np.ndarray) else x for name, x in columns.items()}
    columns["sampling_weight"] = weights
    return _table(arrow_schema(TOKEN_COLUMNS), columns, int(np.count_nonzero(keep)))


def response_table(step: int, rank: int, pieces: Sequence[Piece]) -> pa.Table:
    """The response rows of a step, all of them."""
    schema = arrow_schema(RESPONSE_COLUMNS)
    return pa.concat_tables([_response_rows(step, rank, p, schema) for p in pieces])


def _response_rows(step: int, rank: int, piece: Piece, schema: pa.Schema) -> pa.Table:
    columns = {
        "step": step,
        "update": piece.update,
        "micro_step": piece.micro_step,
        "rank": rank,
        "sample_id": piece.sample_id,
        "prompt_id": piece.prompt_id,
        "reward": piece.tokens.reward,
        "length": np.bincount(piece.tokens.response, minlength=piece.tokens.n_responses),
        "text": piece.texts,
    }
    return _table(schema, columns, piece.tokens.n_responses)


def _table(schema: pa.Schema, columns: dict[str, object], rows: int) -> pa.Table:
    """A table of the schema from arrays, lists, or one value (or None) for all rows."""
    arrays = []
    for column in schema:
        value = columns[column.name]
        if not isinstance(value, np.ndarray | list):
            arrays.append(pa.repeat(pa.scalar(value, column.type), rows))
            continue
        arrays.append(pa.array(value, type=column.type, from_pandas=False))
    return pa.Table.from_arrays(arrays, schema=schema)
