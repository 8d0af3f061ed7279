"""What one call of `Recorder.record` keeps: flat copies of the valid tokens and of the responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import InvalidInputError
from .arrays import as_array, floats, integers, per_token, valid_mask
from .summary import TokenSet

_TOKEN_FLOATS = ("old_logprobs", "ref_logprobs", "entropy", "entropy_after", "influence")


@dataclass(frozen=True)
class Piece:
    """The valid tokens [N] and their responses [R] of one micro-step, as copies of what was given."""

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


def make_piece(given: Mapping[str, Any], used: Mapping[str, Any], default_ids: np.ndarray) -> Piece:
    """A piece from the arguments of `Recorder.record` and the loss's token values ``used`` (may be empty).

    Rows without a valid token are dropped, unless ``keep_empty`` is given: the loss did not use them.
    """
    logprobs = as_array(given["logprobs"], "logprobs")
    if logprobs.ndim != 2:
        raise InvalidInputError(f"logprobs must have shape [B, T], got {list(logprobs.shape)}")
    mask = valid_mask(given["mask"], logprobs.shape)
    rows, position = np.nonzero(mask)
    kept = np.full(len(mask), True) if given.get("keep_empty") else np.asarray(mask.any(axis=1))
    flat = {n: _flat(given[n], mask, n) for n in _TOKEN_FLOATS}
    loss = {n: _flat(used.get(n), mask, f"out.tokens[{n!r}]") for n in ("covariance", "ratio", "weight")}
    tokens = TokenSet(
        logprob=floats(logprobs[mask], "logprobs"),
        advantage=_flat(given["advantages"], mask, "advantages", broadcast=True),
        covariance=np.empty(0, np.float32) if loss["covariance"] is None else loss["covariance"],
        selected=_flags(used.get("selected"), mask, "selected", default=False),
        response=(np.cumsum(kept) - 1)[rows],
        n_responses=int(np.count_nonzero(kept)),
        reward=_response_rewards(given["rewards"], mask, kept),
        old_logprob=flat["old_logprobs"],
        ref_logprob=flat["ref_logprobs"],
        entropy=flat["entropy"],
        entropy_after=flat["entropy_after"],
        influence=flat["influence"],
        ratio=loss["ratio"],
        clipped=_flags(used.get("clipped"), mask, "clipped"),
    )
    return Piece(
        update=given["update"],
        micro_step=given["micro_step"],
        rollout=given["rollout"],
        sample_id=_ids(given["sample_ids"], default_ids, "sample_ids")[kept],
        prompt_id=_ids(given["prompt_ids"], np.full(len(mask), -1), "prompt_ids")[kept],
        texts=_kept_texts(given["texts"], kept),
        position=position.astype(np.int32),
        token_id=_token_ids(given["token_ids"], mask),
        weight=loss["weight"],
        tokens=tokens,
        has_covariance=loss["covariance"] is not None,
        metrics=_scalars(given["metrics"]),
    )


def _flat(value: Any, mask: np.ndarray, name: str, broadcast: bool = False) -> Any:
    """Float32 copies of the valid values of a [B, T] input, None where it was not given."""
    return None if value is None else floats(per_token(value, mask.shape, name, broadcast)[mask], name)


def _flags(value: Any, mask: np.ndarray, name: str, default: bool | None = None) -> Any:
    if value is None:
        return None if default is None else np.full(int(np.count_nonzero(mask)), default)
    return per_token(value, mask.shape, f"out.tokens[{name!r}]")[mask].astype(bool)


def _token_ids(value: Any, mask: np.ndarray) -> np.ndarray | None:
    if value is None:
        return None
    return integers(per_token(value, mask.shape, "token_ids")[mask], "token_ids", np.int32)


def _ids(value: Any, default: np.ndarray, name: str) -> np.ndarray:
    ids = integers(default if value is None else as_array(value, name), name, np.int64)
    if ids.shape != default.shape:
        raise InvalidInputError(f"{name} must have shape [B] = {list(default.shape)}, got {list(ids.shape)}")
    return ids


def _response_rewards(value: Any, mask: np.ndarray, kept: np.ndarray) -> np.ndarray | None:
    """One reward a response. [B, T]: either constant in each response, or rewards of tokens, then summed."""
    if value is None:
        return None
    array = as_array(value, "rewards")
    if array.shape == mask.shape[:1]:
        return floats(array[kept], "rewards")
    tokens = per_token(array, mask.shape, "rewards")[kept].astype(np.float64)
    inside = mask[kept]
    first = tokens[np.arange(len(tokens)), inside.argmax(axis=1)]
    same = (tokens == first[:, None]) | (np.isnan(tokens) & np.isnan(first)[:, None])
    if same[inside].all():
        return floats(first, "rewards")
    return floats(np.where(inside, tokens, 0.0).sum(axis=1), "rewards")


def _kept_texts(texts: Sequence[str] | None, kept: np.ndarray) -> list[str] | None:
    if texts is None:
        return None
    if isinstance(texts, str) or len(texts) != kept.size:
        raise InvalidInputError(f"texts must be a list of B = {kept.size} strings, one a response")
    for text in texts:
        if not isinstance(text, str):
            raise InvalidInputError(f"texts must hold strings, got {type(text).__name__}")
    return [text for text, keep in zip(texts, kept, strict=True) if keep]


def _scalars(metrics: Mapping[str, Any] | None) -> dict[str, float]:
    found = {}
    for name, value in (metrics or {}).items():
        array = as_array(value, f"metrics[{name!r}]")
        if array.size != 1 or array.dtype.kind not in "fiub":
            raise InvalidInputError(f"metrics[{name!r}] must be one number, got shape {list(array.shape)}")
        found[str(name)] = float(array.reshape(()))
    return found
