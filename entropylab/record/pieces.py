"""What is kept of one micro-step: the valid tokens and the responses, flat, made on the writer thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..schema import NO_PROMPT
from .arrays import check_mask, check_range, floats
from .inputs import MicroStep
from .token_set import TokenSet


@dataclass(frozen=True)
class Piece:
    """The valid tokens [N] and their responses [R] of one micro-step; may be views of the staged arrays."""

    update: int
    micro_step: int
    rollout: int | None
    sample_id: np.ndarray
    prompt_id: np.ndarray
    texts: list[str] | None
    position: np.ndarray
    token_id: np.ndarray | None
    weight: np.ndarray | None
    tokens: TokenSet
    has_covariance: bool
    metrics: Mapping[str, float]

    def with_covariance(self, covariance: np.ndarray) -> Piece:
        """The same piece with the covariance filled in."""
        return replace(self, tokens=replace(self.tokens, covariance=covariance), has_covariance=True)


def make_piece(call: MicroStep, arrays: Mapping[str, np.ndarray]) -> Piece:
    """A piece from the staged arrays of one call.

    Rows without a valid token are dropped, unless the call keeps empty ones: the loss did not use them.
    Raises `InvalidInputError` for a value of a device that only now can be read: mask, ids.
    """
    mask = _mask(arrays["mask"])
    inside = _Inside(mask, arrays)
    kept = np.full(len(mask), True) if call.keep_empty else np.asarray(mask.any(axis=1))
    row = (np.cumsum(kept, dtype=np.int32) - np.int32(1))[:, None]
    response = inside.take(np.broadcast_to(row, mask.shape))
    columns = np.broadcast_to(np.arange(mask.shape[1], dtype=np.int32), mask.shape)
    covariance = inside.floats("out.covariance")
    logprob = inside.floats("logprobs")
    tokens = TokenSet(
        logprob=np.empty(0, np.float32) if logprob is None else logprob,
        advantage=_advantages(arrays["advantages"], inside),
        covariance=np.empty(0, np.float32) if covariance is None else covariance,
        selected=_selected(inside),
        response=response,
        n_responses=int(np.count_nonzero(kept)),
        reward=_response_rewards(arrays.get("rewards"), mask, kept),
        old_logprob=inside.floats("old_logprobs"),
        ref_logprob=inside.floats("ref_logprobs"),
        entropy=inside.floats("entropy"),
        entropy_after=inside.floats("entropy_after"),
        influence=inside.floats("influence"),
        ratio=inside.floats("out.ratio"),
        clipped=inside.flags("out.clipped"),
    )
    return Piece(
        update=call.update,
        micro_step=call.micro_step,
        rollout=call.rollout,
        sample_id=_ids(arrays.get("sample_ids"), call.default_ids)[kept],
        prompt_id=_ids(arrays.get("prompt_ids"), np.full(len(mask), NO_PROMPT))[kept],
        texts=_kept_texts(call.texts, kept),
        position=inside.take(columns),
        token_id=_token_ids(inside),
        weight=inside.floats("out.weight"),
        tokens=tokens,
        has_covariance=covariance is not None,
        metrics={**call.metrics, **_device_metrics(arrays)},
    )


class _Inside:
    """The values inside the mask: gathered, or, where the mask is full, a flat view."""

    def __init__(self, mask: np.ndarray, arrays: Mapping[str, np.ndarray]) -> None:
        self.mask = mask
        self.full = bool(mask.all())
        self.arrays = arrays

    def take(self, array: np.ndarray) -> np.ndarray:
        return array.reshape(-1) if self.full else array[self.mask]

    def get(self, name: str) -> np.ndarray | None:
        array = self.arrays.get(name)
        return None if array is None else self.take(array)

    def floats(self, name: str) -> np.ndarray | None:
        array = self.get(name)
        return None if array is None else floats(array, name)

    def flags(self, name: str) -> np.ndarray | None:
        array = self.get(name)
        return None if array is None else array.astype(bool, copy=False)


def _mask(array: np.ndarray) -> np.ndarray:
    mask = array.astype(bool, copy=False)
    check_mask(array, mask)
    return mask


def _advantages(array: np.ndarray, inside: _Inside) -> np.ndarray:
    whole = array if array.ndim == 2 else np.broadcast_to(array[:, None], inside.mask.shape)
    return floats(inside.take(whole), "advantages")


def _selected(inside: _Inside) -> np.ndarray:
    flags = inside.flags("out.selected")
    return np.zeros(int(np.count_nonzero(inside.mask)), dtype=bool) if flags is None else flags


def _token_ids(inside: _Inside) -> np.ndarray | None:
    array = inside.get("token_ids")
    if array is None or array.dtype == np.int32:
        return array
    check_range(array, "token_ids", np.int32)
    return array.astype(np.int32)


def _ids(array: np.ndarray | None, default: np.ndarray) -> np.ndarray:
    return default if array is None else array.astype(np.int64)


def _response_rewards(array: np.ndarray | None, mask: np.ndarray, kept: np.ndarray) -> np.ndarray | None:
    """One reward a response. [B, T]: either constant in each response, or rewards of tokens, then summed."""
    if array is None:
        return None
    if array.ndim == 1:
        return floats(array[kept], "rewards")
    tokens = array[kept].astype(np.float64)
    inside = mask[kept]
    first = tokens[np.arange(len(tokens)), inside.argmax(axis=1)]
    same = (tokens == first[:, None]) | (np.isnan(tokens) & np.isnan(first)[:, None])
    if same[inside].all():
        return floats(first, "rewards")
    return floats(np.where(inside, tokens, 0.0).sum(axis=1), "rewards")


def _kept_texts(texts: Sequence[str] | None, kept: np.ndarray) -> list[str] | None:
    return None if texts is None else [text for text, keep in zip(texts, kept, strict=True) if keep]


def _device_metrics(arrays: Mapping[str, np.ndarray]) -> dict[str, float]:
    prefix = "metrics."
    return {name.removeprefix(prefix): float(x) for name, x in arrays.items() if name.startswith(prefix)}
