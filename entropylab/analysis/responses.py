"""The responses of one step: a row each with what its tokens carry, and its tokens with their text."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from ..errors import InsufficientDataError, UnknownNameError
from ..record.reader import Run
from ..schema import QUADRANTS
from .concentration import top_mask, whole_size
from .quadrants import quadrant_codes

QUANTITIES = {
    "covariance": "nats x advantage",
    "influence": "nats",
    "advantage": "advantage",
    "entropy": "nats",
    "logprob": "nats",
}
"""Columns of the token rows that can colour a token, with their units."""
SIGNED = ("covariance", "influence", "advantage")

_SCALE_STEPS = 5
_KEYS = ["update", "sample_id"]


def step_tokens(run: Run, step: int) -> pd.DataFrame:
    """The token rows of a step as a frame, with ``token``: its text, None where no vocabulary is recorded.

    ``quadrant``: of `schema.QUADRANTS`, about the means of its update; where the log holds a sample of the
    tokens, about the weighted means of the sample.
    """
    frame = pa.Table.from_batches(list(run.tokens([step]))).to_pandas()
    if frame.empty:
        raise InsufficientDataError(f"{run.name}: step {step} has no token rows")
    frame["token"] = [_text(run.vocabulary, i) for i in frame["token_id"].astype(float)]
    frame["quadrant"] = _quadrants(frame)
    return frame.sort_values([*_KEYS, "position"], ignore_index=True)


def response_table(run: Run, tokens: pd.DataFrame) -> pd.DataFrame:
    """One row a response of a step: update, sample_id, prompt_id, reward, length, entropy, covariance, ...

    tokens: those of `step_tokens`. length counts the stored tokens; entropy, covariance: means over them;
    highest: the largest covariance; selected: number chosen; text: that of its tokens where none was
    recorded, None where their texts are not known either.
    """
    groups = tokens.groupby(_KEYS, sort=True)
    table = groups.agg(
        prompt_id=("prompt_id", "first"),
        reward=("reward", "first"),
        advantage=("advantage", "mean"),
        length=("position", "size"),
        entropy=("entropy", "mean"),
        covariance=("covariance", "mean"),
        highest=("covariance", "max"),
        selected=("selected", "sum"),
    ).reset_index()
    table = table.merge(_texts(run, int(tokens["step"].iloc[0])), on=_KEYS, how="left")
    if table["text"].notna().all():
        return table
    joined = pd.MultiIndex.from_frame(table[_KEYS]).map(_joined(tokens))
    return table.assign(text=table["text"].where(table["text"].notna(), joined))


def token_aggregates(tokens: pd.DataFrame, by: str) -> pd.DataFrame:
    """One row a group of tokens: count, responses, mean entropy, mean and total covariance, selected.

    by: "token", "position" or "quadrant". Sorted by count. Raises UnknownNameError for another name.
    """
    if by not in ("token", "position", "quadrant"):
        raise UnknownNameError(f"tokens cannot be gathered by {by!r}: take token, position or quadrant")
    column = "token_id" if by == "token" else by
    groups = tokens.groupby(column, sort=True, observed=True)
    table = groups.agg(
        count=("position", "size"),
        responses=("sample_id", "nunique"),
        entropy=("entropy", "mean"),
        covariance=("covariance", "mean"),
        total=("covariance", "sum"),
        selected=("selected", "sum"),
    ).reset_index()
    if by == "token":
        texts = tokens.drop_duplicates("token_id").set_index("token_id")["token"]
        table.insert(1, "token", table["token_id"].map(texts))
    return table.sort_values("count", ascending=False, ignore_index=True)


def positive_share(tokens: pd.DataFrame, fraction: float = 0.02) -> float:
    """Share of the positive covariance in the ceil(fraction n) highest tokens; NaN where none is positive.

    Where the log holds a sample of the tokens, rows count by their weights and the share is an estimate.
    """
    covariance = tokens["covariance"].fillna(0.0).to_numpy(np.float64)
    weights = tokens["sampling_weight"].fillna(1.0).to_numpy(np.float64)
    positive = weights * np.maximum(covariance, 0.0)
    if not positive.sum() > 0:
        return float("nan")
    k = max(1, math.ceil(fraction * whole_size(weights.sum())))
    return float(positive[top_mask(covariance, k, weights)].sum() / positive.sum())


def quantity_scale(run: Run, quantity: str) -> tuple[float, float, list[int]]:
    """(low, high, steps): the 1st and 99th percentile over tokens of up to 5 steps spread over the run.

    One scale for the whole run, so that the colours of two responses compare; symmetric about 0 for a signed
    quantity. Raises InsufficientDataError where the log does not hold the quantity.
    """
    if quantity not in QUANTITIES:
        raise UnknownNameError(f"{quantity!r} is no quantity of a token: take one of {', '.join(QUANTITIES)}")
    held = run.token_steps()
    places = np.unique(np.linspace(0, len(held) - 1, min(_SCALE_STEPS, len(held))).astype(int))
    steps = [held[i] for i in places]
    table = pa.Table.from_batches(list(run.tokens(steps, ["step", quantity]))) if steps else None
    values = np.array([]) if table is None else table[quantity].to_numpy().astype(float)
    values = values[np.isfinite(values)]
    if not len(values):
        raise InsufficientDataError(f"{run.name}: {quantity} is not recorded with the tokens")
    low, high = (float(x) for x in np.quantile(values, [0.01, 0.99]))
    if quantity in SIGNED:
        limit = max(abs(low), abs(high)) or 1.0
        return -limit, limit, steps
    return low, high if high > low else low + 1.0, steps


def _texts(run: Run, step: int) -> pd.DataFrame:
    columns = [*_KEYS, "text"]
    batches = list(run.responses([step]))
    if not batches:
        return pd.DataFrame(columns=columns).astype({"update": "int64", "sample_id": "int64"})
    return pa.Table.from_batches(batches).select(columns).to_pandas().drop_duplicates(_KEYS)


def _joined(tokens: pd.DataFrame) -> pd.Series:
    """The text of each response's stored tokens, in words where no token begins or ends with a space."""
    texts = tokens["token"].dropna()
    spaced = texts.str.startswith(" ") | texts.str.endswith(" ")
    between = "" if spaced.any() else " "
    return tokens.groupby(_KEYS)["token"].agg(lambda one: None if one.isna().any() else between.join(one))


def _text(vocabulary: Sequence[str], token: float) -> str | None:
    if not np.isfinite(token) or not 0 <= token < len(vocabulary):
        return None
    return vocabulary[int(token)]


def _quadrants(tokens: pd.DataFrame) -> pd.Series:
    weight = tokens["sampling_weight"].fillna(1.0)
    centred = {}
    for name in ("logprob", "advantage"):
        weighted = (tokens[name] * weight).groupby(tokens["update"]).sum()
        mean = weighted / weight.where(tokens[name].notna()).groupby(tokens["update"]).sum()
        centred[name] = (tokens[name] - tokens["update"].map(mean)).to_numpy(np.float64)
    codes = quadrant_codes(centred["logprob"], centred["advantage"])
    return pd.Series(pd.Categorical.from_codes(codes, list(QUADRANTS)), index=tokens.index)
