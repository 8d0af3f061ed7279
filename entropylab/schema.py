"""The log format: every column of every file, its Arrow type, unit and meaning.

A run folder of format 1::

    _run.json                                   identity, settings, software versions
    tokens/step-000123/rank-0003-a1.parquet     one row a token
    responses/step-000123/rank-0003-a1.parquet  one row a response
    markers/step-000123/rank-0003-a1.json       written last: rows, files, exact summary of all tokens
    evaluations/step-000123/<split>-<metric>-a1.json
    cache/                                      computed by readers; deleting it loses nothing

``a1`` is the attempt: a restarted rank writes ``a2``, readers keep the highest.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

FORMAT_VERSION = 1
"""Version of the run folder. A reader refuses a newer one by name."""

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
    Column("prompt_id", pa.int64(), "id", "global id of the prompt"),
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
    Column("prompt_id", pa.int64(), "id", "global id of the prompt"),
    Column("reward", pa.float32(), "reward", "reward of the response", True),
    Column("length", pa.int32(), "tokens", "tokens inside the mask"),
    Column("text", pa.string(), "-", "the response as text", True),
)


def arrow_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """The Arrow schema of a file, with the format version in its metadata."""
    return pa.schema([c.field() for c in columns], metadata={FORMAT_KEY: str(FORMAT_VERSION).encode()})
