"""One sample of miles from the ranks that hold it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .context_parallel import join_slices
from .faults import RecordError
from .json_records import is_number, tokens_id
from .steps import Response, usable_tokens
from .tensors import as_vector

_FIELDS = ("log_probs", "rollout_log_probs", "ref_log_probs", "entropy", "advantages")
"""Fields of the tokens that are stored as the rank's slice."""


@dataclass(frozen=True)
class Shard:
    """One rank's file. cp_rank None: written before miles kept it."""

    path: Path
    columns: Mapping[str, Any]
    indices: tuple[int, ...]
    cp_rank: int | None
    cp_size: int
    padded: bool

    @classmethod
    def of(cls, path: Path, content: Mapping[str, Any]) -> Shard:
        """The shard of a loaded file; `RecordError` where its columns do not fit together."""
        columns = content["rollout_data"]
        for name in ("sample_indices", "tokens", "response_lengths", "total_lengths", "loss_masks"):
            if name not in columns:
                raise RecordError(f"the column {name!r} is missing; there are {sorted(columns)}")
        indices = tuple(int(i) for i in columns["sample_indices"])
        rank = content.get("cp_rank")
        return cls(
            path=path,
            columns=columns,
            indices=indices,
            cp_rank=None if rank is None else int(rank),
            cp_size=int(content.get("cp_size") or 1),
            padded=content.get("qkv_format", "thd") != "thd",
        )

    def value(self, name: str, row: int) -> Any:
        """A column's value of a row, None where the rank has no such column."""
        column = self.columns.get(name)
        if column is None:
            return None
        if row >= len(column):
            raise RecordError(f"{name} has {len(column)} rows in {self.path.name}, row {row} is needed")
        return column[row]


Held = Sequence[tuple[Shard, int]]


def sample_response(
    index: int, held: Held, sample: Mapping[str, Any] | None, batch: int
) -> tuple[Response | None, str | None]:
    """The response of a sample, None where its loss mask is empty; a sentence where tokens were left out.

    log_probs are the trainer's (those of the rollout engine where the trainer's were not dumped); ``batch``
    is the number of samples in the rollout.
    """
    shard, row = held[0]
    total, length = (int(shard.value(name, row)) for name in ("total_lengths", "response_lengths"))
    tokens = as_vector(shard.value("tokens", row), "tokens").astype(np.int64)
    mask = as_vector(shard.value("loss_masks", row), "loss_masks").astype(bool)
    if len(tokens) != total or len(mask) != length or not 0 <= length <= total:
        raise RecordError(
            f"{len(tokens)} tokens and a loss mask of {len(mask)} for lengths of {total} and {length}"
        )
    if not mask.any():
        return None, None
    arrays = {name: _whole(name, held, total, length) for name in _FIELDS}
    logprobs = arrays["log_probs"] if arrays["log_probs"] is not None else arrays["rollout_log_probs"]
    if logprobs is None or arrays["advantages"] is None:
        raise RecordError("no rank holds its log_probs and advantages")
    left, note = usable_tokens(mask, ("log_probs", logprobs), ("advantages", arrays["advantages"]))
    response = Response(
        mask=left,
        logprobs=logprobs,
        advantages=arrays["advantages"],
        token_ids=tokens[total - length :],
        old_logprobs=arrays["rollout_log_probs"],
        ref_logprobs=arrays["ref_log_probs"],
        entropy=arrays["entropy"],
        reward=_reward(shard, row, sample, batch),
        sample_id=index,
        prompt_id=tokens_id(tokens[: total - length]),
        text=_text(sample),
    )
    return response, note


def _whole(name: str, held: Held, total: int, length: int) -> np.ndarray | None:
    """A field over the whole response from the ranks that hold it; None where none does."""
    holders = [(shard, row) for shard, row in held if shard.value(name, row) is not None]
    if not holders:
        return None
    first, row = holders[0]
    values = as_vector(first.value(name, row), name)
    if first.cp_size == 1:
        if len(values) != length:
            raise RecordError(
                f"{name} has {len(values)} values for a response of {length}: {_unplaced(first)}"
            )
        return values
    slices: dict[int, np.ndarray] = {}
    for shard, row in holders:
        slices.setdefault(shard.cp_rank or 0, as_vector(shard.value(name, row), name))
    padded = first.value("max_seq_lens", holders[0][1]) if first.padded else None
    return join_slices(slices, first.cp_size, total, length, None if padded is None else int(padded))


def _unplaced(shard: Shard) -> str:
    if shard.cp_rank is None:
        return "a context-parallel slice of a miles that did not dump cp_rank yet cannot be placed"
    return "the file is inconsistent"


def _reward(shard: Shard, row: int, sample: Mapping[str, Any] | None, batch: int) -> float | None:
    """The raw reward. ``rewards`` may be normalised: it counts only where it is the raw one."""
    raw = shard.columns.get("raw_reward")
    if raw is None:
        value = shard.value("rewards", row)
    elif sample is not None and len(raw) > sample["position"]:
        value = raw[sample["position"]]
    elif len(raw) == len(shard.indices) == batch:
        value = raw[row]
    else:
        value = None
    return float(value) if is_number(value) else None


def _text(sample: Mapping[str, Any] | None) -> str | None:
    text = None if sample is None else sample.get("response")
    return text if isinstance(text, str) else None
