"""The log format: every column of every file, its Arrow type, unit and meaning.

A run folder of format 1::

    _run.json                                   identity, settings, software versions
    vocabulary.parquet                          the text of each token id, where it was given
    tokens/step-000123/rank-0003-a1.parquet     one row a token
    responses/step-000123/rank-0003-a1.parquet  one row a response
    markers/step-000123/rank-0003-a1.json       written last: rows, files, exact summary of all tokens
    markers/open-rank-0003-a1.json              only while that rank's recorder is open: process and host
    markers/rank-0003.lock                      the same, locked: one process a rank (local folders)
    evaluations/step-000123/<split>-<metric>-a1.json
    tokens/compacted/, responses/compacted/, markers/compacted.parquet, evaluations/compacted.parquet
    cache/                                      computed by readers; deleting it loses nothing

``a1`` is the attempt: a restarted rank writes ``a2``, readers keep the highest. A marker without a token file
may say that its rows were pruned (`record.pruned`); the merged file of the rows that stay ends with ``-p1``.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

FORMAT_VERSION = 1
"""Version of the run folder. A reader refuses a newer one by name."""

NO_PROMPT = -1
"""The prompt id of rows that were recorded without one."""

FORMAT_KEY = b"entropylab_format"
"""Key of the version in the metadata of each Parquet file."""

TOP_FRACTIONS: tuple[float, ...] = (2e-4, 2e-3, 2e-2, 2e-1, 5e-1)
"""Fractions of the tokens whose mean covariance each summary holds (arXiv 2505.22617, table 1)."""

QUADRANTS: tuple[str, ...] = ("high_above", "high_below", "low_above", "low_below")
"""Quadrants: logprob above (high) or below (low) its mean x advantage above or below its mean."""


@dataclass(frozen=True)
class Column:
    """One column of a file: its name, Arrow type, unit, meaning, and whether it may be null."""

    name: str
    type: pa.DataType
    unit: str
    meaning: str
    nullable: bool = False

    def field(self) -> pa.Field:
        """The Arrow field of this column."""
        return pa.field(self.name, self.type, nullable=self.nullable)


TOKEN_COLUMNS: tuple[Column, ...] = (
    Column("step", pa.int32(), "step", "the trainer's own step"),
    Column("update", pa.int16(), "update", "optimizer update within the step"),
    Column("micro_step", pa.int16(), "piece", "piece of gradient accumulation within the update"),
    Column("rollout", pa.int32(), "rollout", "generation batch, where several steps share one", True),
    Column("rank", pa.int16(), "rank", "process that wrote the row"),
    Column("sample_id", pa.int64(), "id", "global id of the response"),
    Column("prompt_id", pa.int64(), "id", "global id of the prompt, -1 where not given"),
    Column("position", pa.int32(), "token", "position in the response, from 0"),
    Column("token_id", pa.int32(), "id", "id in the vocabulary", True),
    Column("logprob", pa.float32(), "nats", "log-probability under the current policy"),
    Column("old_logprob", pa.float32(), "nats", "log-probability under the rollout policy", True),
    Column("ref_logprob", pa.float32(), "nats", "log-probability under the reference policy", True),
    Column("entropy", pa.float32(), "nats", "entropy of the policy at this position", True),
    Column("entropy_after", pa.float32(), "nats", "entropy at the same state after the step's updates", True),
    Column("advantage", pa.float32(), "advantage", "advantage the loss used"),
    Column("reward", pa.float32(), "reward", "reward of the response", True),
    Column("covariance", pa.float32(), "nats x advantage", "centred product the loss used"),
    Column("influence", pa.float32(), "nats", "exact first-order effect on the entropy", True),
    Column("selected", pa.bool_(), "-", "chosen by the control"),
    Column("clipped", pa.bool_(), "-", "clipped by the surrogate's ratio bounds", True),
    Column("weight", pa.float32(), "factor", "factor on the token's gradient", True),
    Column("sampling_weight", pa.float32(), "factor", "1 / inclusion probability where sampled", True),
)

RESPONSE_COLUMNS: tuple[Column, ...] = (
    Column("step", pa.int32(), "step", "the trainer's own step"),
    Column("update", pa.int16(), "update", "optimizer update within the step"),
    Column("micro_step", pa.int16(), "piece", "piece of gradient accumulation within the update"),
    Column("rank", pa.int16(), "rank", "process that wrote the row"),
    Column("sample_id", pa.int64(), "id", "global id of the response"),
    Column("prompt_id", pa.int64(), "id", "global id of the prompt, -1 where not given"),
    Column("reward", pa.float32(), "reward", "reward of the response", True),
    Column("length", pa.int32(), "tokens", "tokens inside the mask"),
    Column("text", pa.string(), "-", "the response as text", True),
)


_NATS_ADVANTAGE = "nats x advantage"


def _moment_columns(name: str, unit: str, meaning: str) -> tuple[Column, ...]:
    """The columns of one variable's moments over the tokens (population, float64, mergeable)."""
    texts = {
        "mean": (unit, f"mean {meaning}"),
        "std": (unit, f"standard deviation of the {meaning}, of the population"),
        "skew": ("-", f"skewness of the {meaning}"),
        "kurtosis": ("-", f"excess kurtosis of the {meaning}"),
        "m2": (f"({unit})^2", f"sum of squared deviations of the {meaning}"),
        "m3": (f"({unit})^3", f"sum of cubed deviations of the {meaning}"),
        "m4": (f"({unit})^4", f"sum of fourth powers of the deviations of the {meaning}"),
    }
    return tuple(Column(f"{name}_{key}", pa.float64(), *text, True) for key, text in texts.items())


def top_mean_column(fraction: float) -> str:
    """Name of the column with the mean of the ceil(fraction x n) highest covariances."""
    return f"top_mean_{fraction:g}"


def _quadrant_columns() -> tuple[Column, ...]:
    found = []
    for q in QUADRANTS:
        words = q.replace("_", " logprob, advantage ")
        found += [
            Column(f"count_{q}", pa.int64(), "tokens", f"tokens of {words} their means in the update", True),
            Column(
                f"mass_{q}", pa.float64(), _NATS_ADVANTAGE, f"sum of covariance of the {words} tokens", True
            ),
            Column(f"selected_count_{q}", pa.int64(), "tokens", f"selected tokens of {words}", True),
            Column(
                f"selected_mass_{q}", pa.float64(), _NATS_ADVANTAGE, f"the same sum, selected {words}", True
            ),
        ]
    return tuple(found)


SUMMARY_COLUMNS: tuple[Column, ...] = (
    Column("step", pa.int32(), "step", "the trainer's own step"),
    Column("update", pa.int16(), "update", "optimizer update within the step; only with by='update'"),
    Column("n_updates", pa.int64(), "updates", "optimizer updates merged into this row"),
    Column("n_ranks", pa.int64(), "ranks", "ranks merged into this row"),
    Column("recorded_at", pa.timestamp("us", "UTC"), "time", "when the last rank wrote the step"),
    Column("n_tokens", pa.int64(), "tokens", "tokens inside the mask"),
    Column("n_responses", pa.int64(), "responses", "responses with a token inside the mask, once an update"),
    Column("nonfinite_count", pa.int64(), "values", "NaN or infinite values among what was recorded"),
    Column("entropy_token_mean", pa.float64(), "nats", "mean entropy over tokens", True),
    Column("entropy_response_mean", pa.float64(), "nats", "mean over responses of their mean entropy", True),
    Column(
        "entropy_after_token_mean",
        pa.float64(),
        "nats",
        "mean entropy at the same states after the step",
        True,
    ),
    *_moment_columns("logprob", "nats", "log-probability of the tokens"),
    *_moment_columns("advantage", "advantage", "advantage of the tokens"),
    *_moment_columns("covariance", _NATS_ADVANTAGE, "covariance of the tokens"),
    *(
        Column(
            top_mean_column(f),
            pa.float64(),
            _NATS_ADVANTAGE,
            f"mean of the top ceil({f:g} n) covariances",
            True,
        )
        for f in TOP_FRACTIONS
    ),
    Column("positive_mass", pa.float64(), _NATS_ADVANTAGE, "sum of the positive covariances", True),
    Column("negative_mass", pa.float64(), _NATS_ADVANTAGE, "sum of the negative covariances", True),
    *_quadrant_columns(),
    Column("selected_count", pa.int64(), "tokens", "tokens chosen by the control"),
    Column("selected_fraction", pa.float64(), "-", "selected_count / n_tokens", True),
    Column(
        "selected_covariance_mean", pa.float64(), _NATS_ADVANTAGE, "mean covariance of the selected", True
    ),
    Column("ratio_mean", pa.float64(), "-", "mean of exp(logprob - old logprob)", True),
    Column("ratio_max", pa.float64(), "-", "highest of exp(logprob - old logprob)", True),
    Column(
        "clipped_fraction", pa.float64(), "-", "share of tokens clipped by the surrogate's ratio bounds", True
    ),
    Column("kl_k1", pa.float64(), "nats", "mean of old - new logprob: estimate of KL(old || new)", True),
    Column(
        "kl_k3", pa.float64(), "nats", "mean of exp(d) - 1 - d, d = new - old logprob: KL(old || new)", True
    ),
    Column("kl_ref_k1", pa.float64(), "nats", "mean of new - reference logprob: KL(new || reference)", True),
    Column("kl_ref_k3", pa.float64(), "nats", "mean of exp(d) - 1 - d, d = reference - new logprob", True),
    Column(
        "reward_mean",
        pa.float64(),
        "reward",
        "mean reward over responses; null where one is not finite",
        True,
    ),
    Column(
        "reward_std", pa.float64(), "reward", "standard deviation of the rewards, of the population", True
    ),
    Column(
        "zero_advantage_fraction", pa.float64(), "-", "share of responses whose advantages are all 0", True
    ),
    Column("response_length_mean", pa.float64(), "tokens", "mean number of tokens inside the mask", True),
)
"""One row a (step, update), or a step, over ALL tokens of all ranks, also of those not stored.

A mean is null where one of its values is missing or not finite. Further columns ``metrics/<name>`` hold the
scalars given to `Recorder.record`: their mean over micro-steps, ranks and updates.
"""


def arrow_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """The Arrow schema of a file, with the format version in its metadata."""
    return pa.schema([c.field() for c in columns], metadata={FORMAT_KEY: str(FORMAT_VERSION).encode()})
