"""The tokens of one update as a control would see them, and what it chooses on them or on pieces of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import MissingInputError
from .cluster_bootstrap import Floats

if TYPE_CHECKING:
    from ..losses.interfaces import SelectingControl

Mask = NDArray[np.bool_]

COLUMNS = (
    "step",
    "update",
    "prompt_id",
    "sample_id",
    "position",
    "logprob",
    "old_logprob",
    "advantage",
    "covariance",
    "selected",
    "clipped",
    "sampling_weight",
)


@dataclass(frozen=True)
class UpdateTokens:
    """One token set (step, update), [n], in the order of the log.

    logprob: those that the control centres; covariance: as the loss used it where it centred the same ones,
    else computed here; clipped: None where the log does not say. response [n]: number of the response.
    """

    step: int
    update: int
    logprob: Floats
    advantage: Floats
    covariance: Floats
    clipped: Mask | None
    selected: Mask
    sample_ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    response: NDArray[np.intp]

    @property
    def size(self) -> int:
        """Number of tokens."""
        return len(self.covariance)


def update_tokens(frame: pd.DataFrame, covariance_on: str, logged_on: str) -> UpdateTokens:
    """From the rows of one (step, update); ``logged_on``: the logprobs that the logged covariance is of."""
    name = "logprob" if covariance_on == "current" else "old_logprob"
    if frame[name].isna().any():
        raise MissingInputError(
            f"step {frame['step'].iloc[0]}: {name} is not recorded for every token, and the covariance of "
            f"the {covariance_on} logprobs needs it; record {name}s= with each step"
        )
    logprob, advantage = (frame[column].to_numpy(np.float64) for column in (name, "advantage"))
    covariance = frame["covariance"].to_numpy(np.float64)
    if covariance_on != logged_on:
        covariance = centred_product(logprob, advantage)
    clipped = frame["clipped"]
    samples = frame["sample_id"].to_numpy(np.int64)
    _, first, inverse = np.unique(samples, return_index=True, return_inverse=True)
    return UpdateTokens(
        step=int(frame["step"].iloc[0]),
        update=int(frame["update"].iloc[0]),
        logprob=logprob,
        advantage=advantage,
        covariance=covariance,
        clipped=None if clipped.isna().any() else clipped.to_numpy(dtype=bool),
        selected=frame["selected"].to_numpy(dtype=bool),
        sample_ids=samples,
        positions=frame["position"].to_numpy(np.int64),
        response=first.argsort().argsort()[inverse],
    )


def centred_product(logprob: Floats, advantage: Floats) -> Floats:
    """(l - mean l)(A - mean A), [n] (arXiv 2505.22617, eq. 10)."""
    return (logprob - logprob.mean()) * (advantage - advantage.mean())


def chosen_of(control: SelectingControl, tokens: UpdateTokens, seed: int) -> Mask:
    """What the control chooses on the whole token set, [n]."""
    settings = {"seed": seed, "step": tokens.step}
    return control.choose_numpy(
        tokens.covariance, tokens.sample_ids, tokens.positions, tokens.clipped, **settings
    )


@dataclass(frozen=True)
class Pieces:
    """What a control chooses where it sees ``responses`` responses at a time, [n] each.

    covariance: about the means of the piece; means: of logprob and advantage of each piece, [p, 2].
    """

    chosen: Mask
    covariance: Floats
    means: Floats


def chosen_in_pieces(control: SelectingControl, tokens: UpdateTokens, responses: int, seed: int) -> Pieces:
    """The choices inside micro-batches of so many responses, in the log's order; the last may be short."""
    number = tokens.response // responses
    chosen, covariance = np.zeros(tokens.size, dtype=bool), np.empty(tokens.size)
    means = []
    for piece in range(int(number.max()) + 1):
        rows = np.flatnonzero(number == piece)
        l, a = tokens.logprob[rows], tokens.advantage[rows]
        covariance[rows] = centred_product(l, a)
        means.append((l.mean(), a.mean()))
        clipped = None if tokens.clipped is None else tokens.clipped[rows]
        ids, positions = tokens.sample_ids[rows], tokens.positions[rows]
        settings = {"seed": seed, "step": tokens.step}
        chosen[rows] = control.choose_numpy(covariance[rows], ids, positions, clipped, **settings)
    return Pieces(chosen, covariance, np.array(means))
