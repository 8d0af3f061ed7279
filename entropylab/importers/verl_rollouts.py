"""verl ``trainer.rollout_data_dir``: ``{step}.jsonl`` with input, output, gts, score, step; no tokens.

verl 0.9.1, trainer/ppo/ray_trainer.py (_write_generations). Numbers of the reward function become metrics.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .faults import RecordError
from .json_records import field, is_number, json_lines, numeric_means, stable_id, whole
from .steps import Context, ImportedStep, Response

_OWN = ("input", "output", "gts", "score", "step")


def find(source: Path) -> list[Path]:
    """``{step}.jsonl`` in the source, by step."""
    paths = [source] if source.is_file() else source.glob("*.jsonl")
    return sorted((path for path in paths if _is_step(path)), key=lambda path: int(path.stem))


def _is_step(path: Path) -> bool:
    return path.suffix == ".jsonl" and path.stem.isascii() and path.stem.isdigit() and len(path.stem) < 10


def read(files: list[Path], context: Context) -> Iterator[ImportedStep]:
    """The steps in order, with the texts and rewards of their responses."""
    for path in files:
        step, responses, rows = int(path.stem), [], []
        for place, record in json_lines(path, context.faults):
            with context.faults.at(place):
                responses.append(_response(record, step, place.line))
                rows.append(record)
        if responses:
            yield ImportedStep(step, responses, numeric_means(rows, _OWN))


def _response(record: dict[str, Any], step: int, line: int) -> Response:
    if whole(record, "step") != step:
        raise RecordError(f"step {record['step']} in the file of step {step}")
    score, prompt, text = (field(record, name) for name in ("score", "input", "output"))
    if not is_number(score):
        raise RecordError(f"score must be a finite number, found {score!r}")
    for name, value in (("input", prompt), ("output", text)):
        if not isinstance(value, str):
            raise RecordError(f"{name} must be a string, found {type(value).__name__}")
    sample = stable_id(step, line)
    return Response(reward=float(score), sample_id=sample, prompt_id=stable_id("text", prompt), text=text)
