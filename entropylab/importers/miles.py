"""miles ``--dump-details``: ``train_data/{id}_{rank}.pt``, and beside it ``rollout_data/[eval_]{id}.pt``.

radixark/miles, miles/utils/train_dump_utils.py and miles/dashboard/dump_reader.py. Files are loaded with
weights_only=True: nothing in them is executed. The ranks of a rollout are joined: tensor-parallel copies are
read once, context-parallel slices are put together (`context_parallel`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from .faults import RecordError
from .json_records import is_number
from .miles_samples import Shard, sample_response
from .steps import Context, ImportedEvaluation, ImportedStep, Response
from .tensors import load_tensors

_FILE = re.compile(r"^(\d+)_(\d+)\.pt$")
_EVALUATION = re.compile(r"^eval_(\d+)\.pt$")


def find(source: Path) -> list[Path]:
    """The files of the ranks at or below the source, by rollout and rank."""
    paths = [source] if source.is_file() else source.rglob("*_*.pt")
    keyed = {_key(path): path for path in sorted(paths) if _FILE.match(path.name)}
    return [keyed[key] for key in sorted(keyed)]


def _key(path: Path) -> tuple[int, int]:
    match = _FILE.match(path.name)
    return (int(match[1]), int(match[2])) if match else (-1, -1)


def read(files: list[Path], context: Context) -> Iterator[ImportedStep | ImportedEvaluation]:
    """Evaluations by the rewards of the dumped evaluation samples, then the steps in order."""
    rollouts = files[0].parent.parent / "rollout_data"
    yield from _evaluations(rollouts, context)
    for step, group in groupby(files, lambda path: _key(path)[0]):
        shards = list(_shards(list(group), step, context))
        found = _responses(shards, _samples(rollouts / f"{step}.pt", context), context)
        if found:
            yield ImportedStep(step, found)


def _shards(paths: list[Path], step: int, context: Context) -> Iterator[Shard]:
    for path in paths:
        with context.faults.at(path):
            content = load_tensors(path)
            if not isinstance(content, dict) or not isinstance(content.get("rollout_data"), dict):
                raise RecordError("no 'rollout_data' in it, so not a training dump of miles")
            if content.get("rollout_id", step) != step:
                raise RecordError(f"rollout_id {content['rollout_id']!r} in the file of rollout {step}")
            yield Shard.of(path, content)


def _samples(path: Path, context: Context) -> dict[int, dict[str, Any]]:
    """The samples of a rollout dump by their index, with their place in the batch; empty without one."""
    found: dict[int, dict[str, Any]] = {}
    if path.is_file():
        with context.faults.at(path):
            for position, sample in enumerate(_dumped(path)):
                found[int(sample.get("index", -1))] = {**sample, "position": position}
    return found


def _dumped(path: Path) -> list[dict[str, Any]]:
    content = load_tensors(path)
    samples = content.get("samples") if isinstance(content, dict) else None
    if not isinstance(samples, list) or not all(isinstance(s, dict) for s in samples):
        raise RecordError("no list of 'samples' in it, so not a rollout dump of miles")
    return samples


def _responses(shards: list[Shard], samples: dict[int, dict[str, Any]], context: Context) -> list[Response]:
    """One response a sample index, from all ranks that hold it."""
    where: dict[int, list[tuple[Shard, int]]] = {}
    for shard in shards:
        for row, index in enumerate(shard.indices):
            where.setdefault(index, []).append((shard, row))
    found = []
    for index, held in where.items():
        place = f"{held[0][0].path}, sample {index}"
        with context.faults.at(place):
            response, note = sample_response(index, held, samples.get(index), len(where))
            if note:
                context.faults.report(place, note)
            if response is not None:
                found.append(response)
    return found


def _evaluations(folder: Path, context: Context) -> Iterator[ImportedEvaluation]:
    """Mean reward of each evaluation dump over its prompts."""
    paths = [p for p in sorted(folder.glob("eval_*.pt")) if _EVALUATION.match(p.name)]
    for path in sorted(paths, key=lambda p: int(p.stem.removeprefix("eval_"))):
        with context.faults.at(path):
            groups: dict[Any, list[float]] = {}
            for position, sample in enumerate(_dumped(path)):
                if is_number(sample.get("reward")):
                    key = sample.get("group_index")
                    groups.setdefault(position if key is None else key, []).append(float(sample["reward"]))
            if groups:
                value = float(np.mean([np.mean(rewards) for rewards in groups.values()]))
                yield ImportedEvaluation(int(path.stem.removeprefix("eval_")), "reward", value, len(groups))
