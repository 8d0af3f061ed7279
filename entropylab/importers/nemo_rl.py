"""NeMo-RL ``train_data_stepN.jsonl``: one sample a line, each field a list of one (a batch of one).

NVIDIA-NeMo/RL, nemo_rl/algorithms/grpo.py and utils/logger.py (log_batched_dict_as_jsonl). A value at t is of
the token at t. ``prev_logprobs`` are the policy's before the update, ``generation_logprobs`` those of the
generation engine; entropies are not logged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .faults import RecordError
from .json_records import field, flags, floats, ids, is_number, json_lines, stable_id, tokens_id
from .steps import Context, ImportedStep, Response, usable_tokens

_FILE = re.compile(r"^train_data_step(\d+)\.jsonl$")


def find(source: Path) -> list[Path]:
    """The files at or below the source, by step."""
    paths = [source] if source.is_file() else source.rglob("train_data_step*.jsonl")
    keyed = {_step(path): path for path in sorted(paths) if _FILE.match(path.name)}
    return [keyed[step] for step in sorted(keyed)]


def _step(path: Path) -> int:
    match = _FILE.match(path.name)
    return int(match[1]) if match else -1


def read(files: list[Path], context: Context) -> Iterator[ImportedStep]:
    """The steps in order. Samples that the sample mask leaves out are counted in the metrics."""
    context.notes["logprob"] = "prev_logprobs (policy before the update); old_logprob: generation_logprobs"
    for path in files:
        step, found, dropped = _step(path), [], 0
        for place, record in json_lines(path, context.faults):
            response, note = None, None
            with context.faults.at(place):
                response, note = _response(record, stable_id(step, place.line))
                dropped += response is None
            if note:
                context.faults.report(place, note)
            if response is not None:
                found.append(response)
        if found:
            yield ImportedStep(step, found, {"masked_samples": float(dropped)})


def _response(record: dict[str, Any], sample_id: int) -> tuple[Response | None, str | None]:
    """The sample; None where the sample mask leaves it out of the loss."""
    tokens = ids(_one(record, "token_ids"), "token_ids")
    n = len(tokens)
    mask = flags(_one(record, "token_loss_mask"), "token_loss_mask", n)
    if not _number(record, "sample_loss_mask") or not mask.any():
        return None, None
    logprobs = floats(_one(record, "prev_logprobs"), "prev_logprobs", n)
    advantages = floats(_advantages(record, n), "advantages", n)
    old = floats(_one(record, "generation_logprobs"), "generation_logprobs", n) if _has(record) else None
    left, note = usable_tokens(mask, ("prev_logprobs", logprobs), ("advantages", advantages))
    response = Response(
        mask=left,
        logprobs=logprobs,
        advantages=advantages,
        token_ids=tokens,
        old_logprobs=old,
        reward=_number(record, "filtered_rewards" if "filtered_rewards" in record else "rewards"),
        sample_id=sample_id,
        prompt_id=tokens_id(tokens[: int(mask.argmax())]),
    ).trimmed(mask)
    return response, note


def _has(record: dict[str, Any]) -> bool:
    return record.get("generation_logprobs") is not None


def _one(record: dict[str, Any], name: str) -> Any:
    """A field without the batch dimension of one."""
    value = field(record, name)
    return value[0] if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list) else value


def _number(record: dict[str, Any], name: str) -> float:
    value = field(record, name)
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    if not is_number(value):
        raise RecordError(f"{name} must be a number, found {value!r}")
    return float(value)


def _advantages(record: dict[str, Any], n: int) -> Any:
    """Advantages of the tokens; one of the sample stands for all its tokens."""
    value = _one(record, "advantages")
    value = value[0] if isinstance(value, list) and len(value) == 1 and n > 1 else value
    return [value] * n if is_number(value) else value
