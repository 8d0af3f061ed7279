"""TRL ``log_completions``: ``completions/completions_{step:05d}.parquet``; no tokens.

TRL, trainer/grpo_trainer.py (log): columns step, prompt, completion, one a reward function, extras and
advantage. Numeric columns other than step and advantage count as rewards; several are summed without those
that are null, as TRL does where ``reward_weights`` is not set.

At a step with an evaluation TRL writes its completions over those of training (found with 1.16.0);
where trainer_state.json tells of evaluations these files are left out, and repeats of them too.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .faults import RecordError
from .json_records import stable_id
from .metrics_tables import read_json
from .steps import Context, ImportedStep, Response

_FILE = re.compile(r"^completions_(\d+)\.parquet$")
_NEEDED = ("step", "prompt", "completion", "advantage")


def find(source: Path) -> list[Path]:
    """The Parquet files at or below the source, by step."""
    paths = [source] if source.is_file() else source.rglob("completions_*.parquet")
    keyed = {_step(path): path for path in sorted(paths) if _FILE.match(path.name)}
    return [keyed[step] for step in sorted(keyed)]


def _step(path: Path) -> int:
    match = _FILE.match(path.name)
    return int(match[1]) if match else -1


def read(files: list[Path], context: Context) -> Iterator[ImportedStep]:
    """The steps in order, with texts, rewards and, as metrics, what is known of the advantages."""
    evaluated, left_out = _evaluated_steps(files[0].parent), []
    if evaluated is None:
        context.notes["evaluations"] = (
            "no trainer_state.json: files of steps with an evaluation hold its texts"
        )
    hidden: list[Any] = []
    for path in files:
        table = None
        with context.faults.at(path):
            table = _table(path)
            rewards = _reward_columns(table)
        if table is None or table.num_rows == 0:
            continue
        if _step(path) in (evaluated or ()) or table["completion"].to_pylist() == hidden:
            hidden = table["completion"].to_pylist()
            left_out.append(_step(path))
            context.notes["evaluations_left_out_at_steps"] = left_out
            continue
        context.notes["reward_columns"] = rewards
        responses = _responses(table, rewards, _step(path), path, context)
        if responses:
            yield ImportedStep(_step(path), responses, _metrics(table, rewards))


def _evaluated_steps(folder: Path) -> set[int] | None:
    """The steps with an evaluation, by the trainer_state.json near the completions; None without one."""
    near = [folder, folder.parent]
    paths = [place / "trainer_state.json" for place in near]
    paths += [path for place in near for path in place.glob("checkpoint-*/trainer_state.json")]
    found: set[int] | None = None
    for path in paths:
        if path.is_file():
            rows = [row for row in read_json(path).rows if any(name.startswith("eval_") for name in row)]
            found = (found or set()) | {
                int(row["step"]) for row in rows if isinstance(row.get("step"), float)
            }
    return found


def _table(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise RecordError(f"not a whole Parquet file ({error})") from None
    missing = [name for name in _NEEDED if name not in table.column_names]
    if missing:
        raise RecordError(f"the columns {missing} are missing; there are {table.column_names}")
    steps = set(table["step"].to_pylist())
    if table.num_rows and steps != {_step(path)}:
        raise RecordError(f"the steps {sorted(map(str, steps))} in the file of step {_step(path)}")
    return table


def _reward_columns(table: pa.Table) -> list[str]:
    kinds = {f.name: f.type for f in table.schema}
    numeric = [n for n, k in kinds.items() if pa.types.is_floating(k) or pa.types.is_integer(k)]
    return [name for name in numeric if name not in _NEEDED and not name.startswith("__index")]


def _responses(
    table: pa.Table, rewards: Sequence[str], step: int, path: Path, context: Context
) -> list[Response]:
    found = []
    for row, record in enumerate(table.to_pylist()):
        with context.faults.at(f"{path}, row {row}"):
            found.append(_response(record, rewards, stable_id(step, row)))
    return found


def _response(record: dict[str, Any], rewards: Sequence[str], sample_id: int) -> Response:
    given = [float(record[name]) for name in rewards if record[name] is not None]
    given = [value for value in given if not math.isnan(value)]
    if any(math.isinf(value) for value in given):
        raise RecordError("a reward is infinite")
    prompt, completion = _text(record["prompt"]), _text(record["completion"])
    reward = sum(given) if given else None
    return Response(reward=reward, sample_id=sample_id, prompt_id=stable_id("text", prompt), text=completion)


def _text(value: object) -> str:
    """A text as it is, a list of chat messages as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _metrics(table: pa.Table, rewards: Sequence[str]) -> dict[str, float]:
    advantage = _finite(table["advantage"])
    metrics = {
        f"rewards/{name}/mean": float(x.mean()) for name in rewards if (x := _finite(table[name])).size
    }
    if advantage.size:
        metrics |= {
            "advantage_mean": float(advantage.mean()),
            "advantage_std": float(advantage.std()),
            "zero_advantage_fraction": float(np.mean(advantage == 0.0)),
        }
    return metrics


def _finite(column: pa.ChunkedArray) -> np.ndarray:
    values = np.array([math.nan if v is None else float(v) for v in column.to_pylist()])
    return values[np.isfinite(values)]
