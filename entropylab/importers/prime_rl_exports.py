"""prime-rl token exports: ``token_exports/step_N/rank_R.jsonl``, one trained sequence a line.

Schema 1 (PrimeIntellect-ai/prime-rl, src/prime_rl/trainer/rl/token_export.py): every list is aligned with
token_ids; a value at position t is of the token at t. ``STABLE`` marks a step whose ranks have all written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from .faults import RecordError
from .json_records import field, flags, floats, ids, json_lines, stable_id, tokens_id, whole
from .steps import Context, ImportedStep, Response, usable_tokens

SCHEMA_VERSION = 1

_STEP = re.compile(r"^step_(\d+)$")
_RANK = re.compile(r"^rank_(\d+)\.jsonl$")
_OPTIONAL = ("entropy", "inference_logprobs", "is_masked")


def find(source: Path) -> list[Path]:
    """The rank files at or below the source, by step and rank."""
    paths = [source] if source.is_file() else source.rglob("rank_*.jsonl")
    keyed = {_key(path): path for path in paths if _STEP.match(path.parent.name) and _RANK.match(path.name)}
    return [keyed[key] for key in sorted(keyed)]


def _key(path: Path) -> tuple[int, int]:
    step, rank = _STEP.match(path.parent.name), _RANK.match(path.name)
    return (int(step[1]), int(rank[1])) if step and rank else (-1, -1)


def read(files: list[Path], context: Context) -> Iterator[ImportedStep]:
    """The steps in order; a step without ``STABLE`` is left out where others have it."""
    marked = any((path.parent / "STABLE").exists() for path in files)
    for step, group in groupby(files, lambda path: _key(path)[0]):
        paths = list(group)
        if marked and not (paths[0].parent / "STABLE").exists():
            context.faults.report(
                paths[0].parent, "no STABLE marker, so not all ranks have written; left out"
            )
            continue
        found = [response for path in paths for response in _responses(path, step, context)]
        if found:
            yield ImportedStep(step, found)


def _responses(path: Path, step: int, context: Context) -> Iterator[Response]:
    rank = _key(path)[1]
    for place, record in json_lines(path, context.faults):
        response, note = None, None
        with context.faults.at(place):
            response, note = _response(record, step, stable_id(step, rank, place.line))
        if note:
            context.faults.report(place, note)
        if response is not None:
            yield response


def _response(record: dict[str, Any], step: int, sample_id: int) -> tuple[Response, str | None]:
    version = field(record, "schema_version")
    if version != SCHEMA_VERSION:
        raise RecordError(f"schema_version {version!r}, this importer reads {SCHEMA_VERSION}")
    if whole(record, "step") != step:
        raise RecordError(f"step {record['step']} in the folder of step {step}")
    tokens = ids(field(record, "token_ids"), "token_ids")
    n = len(tokens)
    mask = flags(field(record, "loss_mask"), "loss_mask", n)
    if not mask.any():
        raise RecordError("no token inside loss_mask")
    logprobs = floats(field(record, "trainer_logprobs"), "trainer_logprobs", n)
    advantages = floats(field(record, "advantages"), "advantages", n)
    given = {name: record[name] for name in _OPTIONAL if record.get(name) is not None}
    first = int(mask.argmax())
    left, note = usable_tokens(mask, ("trainer_logprobs", logprobs), ("advantages", advantages))
    response = Response(
        mask=left,
        logprobs=logprobs,
        advantages=advantages,
        token_ids=tokens,
        old_logprobs=_known(given, "inference_logprobs", n),
        entropy=_known(given, "entropy", n),
        clipped=_clipped(given, n),
        sample_id=sample_id,
        prompt_id=tokens_id(tokens[:first]),
    ).trimmed(mask)
    return response, note


def _known(given: dict[str, Any], name: str, n: int) -> np.ndarray | None:
    return floats(given[name], name, n) if name in given else None


def _clipped(given: dict[str, Any], n: int) -> np.ndarray | None:
    """What the trust region masked; a column of nulls (another loss) is not known."""
    values = given.get("is_masked")
    if isinstance(values, list) and all(v is None for v in values):
        return None
    return None if values is None else flags(values, "is_masked", n)
