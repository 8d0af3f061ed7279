"""The figures of the snapshot from its recorded runs: top means, nulls, quadrants, examples, influence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student
from snapshot_batch import GROUP, LENGTH, SEED, Batch
from snapshot_model import Chat

from entropylab.analysis.attribution import attribute
from entropylab.analysis.cluster_bootstrap import cluster_error
from entropylab.analysis.jsonable import jsonable
from entropylab.analysis.proxy_audit import FRACTION, audit_proxies
from entropylab.analysis.proxy_rankings import FIGURES, ranked_figures
from entropylab.analysis.quadrants import quadrant_codes
from entropylab.analysis.tail_data import analyze_run, run_tokens
from entropylab.analysis.tails import QUADRANT_TOP
from entropylab.influence.token_effects import Influence
from entropylab.record.reader import Run
from entropylab.record.summary import top_count

EXAMPLES = 6
"""Tokens that are shown of each quadrant."""
BEFORE = 6
"""Tokens of a response that are shown before an example."""


@dataclass(frozen=True, eq=False)
class Part:
    """A run whose tokens have an influence: what to call it, the run, and how the influence was made."""

    name: str
    run: Run
    influence: Influence


def figures(chat: Chat, batch: Batch, whole: Part, head: Part) -> dict[str, Any]:
    """Everything that the page shows, JSON-ready; ``head`` is the run of all tokens."""
    report = analyze_run(head.run)
    tokens = run_tokens(head.run, None, ["position", "token_id"]).frame
    lists = {
        "top_means": _top_means(report.nulls, report.concentration, tokens),
        "permutation": report.permutation,
        "quadrants": attribute(head.run).quadrants,
    }
    found = {
        "batch": _batch(chat, batch, tokens),
        **lists,
        "verdict": report.verdict,
        "explanations": report.explanations,
        "left_shape": report.left_shape,
        "warnings": report.warnings,
        "surprisal": report.surprisal,
        "examples": _examples(chat, batch, tokens),
        "influence": [_audit(whole, other=head), _audit(head)],
    }
    return _rounded(jsonable(found))


def _batch(chat: Chat, batch: Batch, tokens: pd.DataFrame) -> dict[str, Any]:
    given = batch.responses
    return {
        "model": "SmolLM2-135M-Instruct",
        "weights": "4-bit weights taken to fp32",
        "parameters": sum(p.numel() for p in chat.model.parameters()),
        "vocabulary": chat.model.config.vocab_size,
        "prompts": len(batch.problems),
        "group": GROUP,
        "length": LENGTH,
        "seed": SEED,
        "tokens": len(tokens),
        "tokens_mixed": int(given.mask[batch.is_mixed].sum()),
        "mixed_prompts": len(np.unique(batch.prompt_ids[batch.is_mixed])),
        "right": batch.rewards.mean(),
        "ended": float((given.tokens[given.mask] == chat.end).sum()) / len(given.tokens),
        "entropy": float(given.entropy[given.mask].mean()),
        "logprob": float(given.logprobs[given.mask].mean()),
    }


def _top_means(nulls: pd.DataFrame, tops: pd.DataFrame, tokens: pd.DataFrame) -> pd.DataFrame:
    """One row a fraction, with the independent product N1; last the mean of all."""
    columns = ["fraction", "independent", "ratio", "ratio_low", "ratio_high", "p"]
    rows = tops[["fraction", "k", "top_mean", "low", "high"]]
    rows = rows.merge(nulls.query("tail == 'right'")[columns], on="fraction")
    rows = rows.rename(columns={"top_mean": "mean"})
    covariance = tokens["covariance"].to_numpy(np.float64)
    codes = tokens["prompt"].to_numpy()
    mean, error = covariance.mean(), cluster_error(covariance - covariance.mean(), codes)
    half = student.ppf(0.975, codes.max()) * error
    whole = {"fraction": 1.0, "k": len(tokens), "mean": mean, "low": mean - half, "high": mean + half}
    return pd.concat([rows, pd.DataFrame([whole])], ignore_index=True)


def _examples(chat: Chat, batch: Batch, tokens: pd.DataFrame) -> list[dict[str, Any]]:
    """The highest of the top 2 % in each quadrant, one a response, with what comes before them."""
    ids = batch.responses.tokens
    tokens = tokens.assign(quadrant=quadrant_codes(tokens["l"].to_numpy(), tokens["a"].to_numpy()))
    highest = tokens.nlargest(top_count(QUADRANT_TOP, len(tokens)), "covariance")
    highest = highest.drop_duplicates("sample_id").groupby("quadrant").head(EXAMPLES)
    return [
        {
            "question": batch.problems[row.prompt_id].question,
            "before": chat.raw(ids[row.sample_id, max(row.position - BEFORE, 0) : row.position]),
            "token": chat.raw([row.token_id]),
            "reward": batch.rewards[row.sample_id],
            "probability": np.exp(row.logprob),
            "advantage": row.advantage,
            "covariance": row.covariance,
        }
        for row in highest.itertuples()
    ]


def _audit(part: Part, other: Part | None = None) -> dict[str, Any]:
    """How the proxies rank the tokens of a run by their influence; beside them that of another run."""
    found, made = audit_proxies(part.run), part.influence
    columns = ["proxy", *(f"{name}{end}" for name in FIGURES for end in ("", "_low", "_high"))]
    proxies = found.proxies[columns]
    if other is not None:
        proxies = pd.concat([proxies, _as_proxy(part, other)], ignore_index=True)
    lowest = found.quadrants.set_index("quadrant")
    return {
        "name": part.name,
        "tokens": found.n_tokens,
        "prompts": run_tokens(part.run).frame["prompt"].nunique(),
        "route": made.route,
        "seconds": made.seconds,
        "cost": made.cost,
        "current": made.current,
        "absolute": float(made.tokens.abs().nansum()),
        "error": made.error,
        "proxies": proxies,
        "lowest_quadrants": lowest["influence"].to_dict(),
    }


def _as_proxy(part: Part, other: Part) -> pd.DataFrame:
    """The influence of the same tokens in another run as one more ranking, without an interval."""
    keys = ["sample_id", "position"]
    frames = [run_tokens(p.run, None, ["position", "influence"]).frame for p in (part, other)]
    both = frames[0].merge(frames[1], on=keys, suffixes=("", "_other"), validate="one_to_one")
    values = both[["influence", "influence_other"]].to_numpy(np.float64).T
    (row,) = ranked_figures(values[0], values[1:], FRACTION)
    return pd.DataFrame([{"proxy": other.name, **dict(zip(FIGURES, row, strict=True))}])


def _rounded(value: Any) -> Any:
    """Numbers to five digits."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return {key: _rounded(item) for key, item in value.items()} if isinstance(value, dict) else value
