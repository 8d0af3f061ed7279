"""Dumps of trainers that do not install from the package index on a CPU, by their documented layout.

prime-rl exports: PrimeIntellect-ai/prime-rl at 559b44772e47, src/prime_rl/trainer/rl/token_export.py.
prime-rl traces: at 048a6e23428e (monitors/file/monitor.py) and 65a185848115 (trainer/rl/annotations.py, and
update.py of monitors/file/traces); nodes: PrimeIntellect-ai/verifiers at 018447481 (verifiers/v1/graph.py).
miles: radixark/miles at 31f1ca961a94, miles/utils/train_dump_utils.py, backends/training_utils/cp_utils.py.
NeMo-RL: NVIDIA-NeMo/RL at 7ea279abfbeb, nemo_rl/algorithms/grpo.py, nemo_rl/utils/logger.py.
Each maker returns what it wrote of the trained tokens, in the order of the files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

Truth = dict[str, np.ndarray]


def rounded(x: np.ndarray) -> list[float]:
    return [float(np.float32(v)) for v in x]


def lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


class Sequences:
    """Random prompts and responses, and a record of what was trained on."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.kept: dict[str, list[np.ndarray]] = {}

    def draw(self, prompt: int = 3, response: int = 7) -> dict[str, np.ndarray]:
        n = prompt + response
        mask = np.arange(n) >= prompt
        mask[prompt + 1 :] &= self.rng.random(response - 1) < 0.8
        return {
            "mask": mask,
            "token_id": self.rng.integers(0, 99, n),
            "logprob": -self.rng.random(n).astype(np.float32),
            "old_logprob": -self.rng.random(n).astype(np.float32),
            "entropy": self.rng.random(n).astype(np.float32),
            "advantage": self.rng.normal(size=n).astype(np.float32),
        }

    def keep(self, x: dict[str, np.ndarray]) -> None:
        for name, values in x.items():
            self.kept.setdefault(name, []).append(values[x["mask"]])

    def truth(self) -> Truth:
        return {name: np.concatenate(parts) for name, parts in self.kept.items()}


def prime_rl_exports(folder: Path, steps: int = 3, ranks: int = 2, each: int = 4) -> Truth:
    made = Sequences(0)
    for step in range(1, steps + 1):
        for rank in range(ranks):
            records = []
            for i in range(each):
                x = made.draw()
                made.keep(x)
                n = len(x["mask"])
                records.append(
                    {
                        "schema_version": 1,
                        "step": step,
                        "rank": rank,
                        "micro_step": i,
                        "micro_sequence_idx": 0,
                    }
                    | {"export_sequence_idx": i, "env_name": "math", "token_ids": x["token_id"].tolist()}
                    | {"position_ids": list(range(n)), "loss_mask": x["mask"].tolist()}
                    | {"advantages": rounded(x["advantage"]), "inference_logprobs": rounded(x["old_logprob"])}
                    | {"trainer_logprobs": rounded(x["logprob"]), "entropy": rounded(x["entropy"])}
                    | {"mismatch_kl": [0.0] * n, "is_masked": [bool(m and i == 0) for m in x["mask"]]}
                )
            lines(folder / "token_exports" / f"step_{step}" / f"rank_{rank}.jsonl", records)
        (folder / "token_exports" / f"step_{step}" / "STABLE").touch()
    return made.truth()


def node(parent: int | None, x: dict[str, np.ndarray], part: slice, content: str) -> dict[str, Any]:
    mask, role = x["mask"][part], "assistant" if x["mask"][part].any() else "user"
    return {
        "parent": parent,
        "message": {"role": role, "content": content},
        "sampled": role == "assistant",
        "token_ids": x["token_id"][part].tolist(),
        "mask": mask.tolist(),
        "logprobs": rounded(x["old_logprob"][part][mask]),
    }


def stream(x: dict[str, np.ndarray], name: str) -> list[float | None]:
    return [float(v) if m else None for v, m in zip(x[name], x["mask"], strict=True)]


def prime_rl_traces(folder: Path, steps: int = 3, each: int = 4, chunked: bool = True) -> Truth:
    """Trained episodes of two turns, one that was never trained, one evaluation a step."""
    made = Sequences(1)
    episodes, ship, trained = [], [], []
    for step in range(1, steps + 1):
        for i in range(each + 2):
            x = made.draw(prompt=4, response=9)
            trace, kind = f"t{step}-{i}", "eval" if i == each + 1 else "train"
            info = {
                "kind": kind,
                "dispatch": {"step": step, "time": 1.0},
                "arrival": {"step": step, "time": 2.0},
            }
            nodes = [node(None, x, slice(0, 4), "Question"), node(0, x, slice(4, 13), f"Answer {i}")]
            rewards = {"right": {"score": float(i % 2), "weight": 1.0}, "form": {"score": 0.5, "weight": 0.2}}
            record = {"id": trace, "nodes": nodes, "rewards": rewards, "info": info}
            group = {"id": f"g{step}-{i // 2}"}
            episodes.append({"id": f"e{trace}", "env": {"name": "math"}, "group": group, "traces": [record]})
            if i >= each:
                continue
            made.keep(x)
            shipped = {"effective": True, "ship": {"step": step, "time": 3.0}, "advantage": 0.5}
            branches = [{"index": 0, "advantages": rounded(x["advantage"])}]
            ship.append({"version": 1, "trace_id": trace, "info": shipped, "branches": branches})
            stale = {"index": 0, "trainer_logprobs": [None, *[-9.0] * 12]}
            streams = {"trainer_logprobs": stream(x, "logprob"), "entropies": stream(x, "entropy")}
            streams["is_masked"] = [None] * 4 + [i == 0] * 9
            trained.append({"version": 1, "trace_id": trace, "info": {}, "branches": [stale]})
            trained.append(
                {"version": 1, "trace_id": trace, "info": {}, "branches": [{"index": 0, **streams}]}
            )
    traces = folder / "monitors" / "file" / "traces"
    if not chunked:
        lines(traces / "stream.jsonl", episodes)
        lines(traces / "stream.index.jsonl", [{"line": 1}])
        lines(traces / "annotations" / "orchestrator.jsonl", ship)
        lines(traces / "annotations" / "trainer.jsonl", trained)
        lines(traces / "annotations" / "trainer.index.jsonl", [{"trace_id": "t1-0"}])
        return made.truth()
    half = len(episodes) // 2
    lines(traces / "stream" / "00000.jsonl", episodes[:half])
    lines(traces / "stream" / "00001.jsonl", episodes[half:])
    lines(traces / "annotations" / "orchestrator" / "00000.jsonl", ship)
    lines(traces / "annotations" / "trainer" / "00000.jsonl", trained)
    return made.truth()


MILES_FIELDS = {
    "logprob": "log_probs",
    "old_logprob": "rollout_log_probs",
    "entropy": "entropy",
    "advantage": "advantages",
}


def rank_slice(values: np.ndarray, prompt: int, rank: int, ranks: int, length: int) -> np.ndarray:
    """The values of a response that a context-parallel rank holds, found token by token."""
    size = -(-length // (2 * ranks))
    held = []
    for chunk in (rank, 2 * ranks - 1 - rank):
        held += [i for i in range(len(values)) if (prompt + i - 1) // size == chunk]
    return values[held]


def miles(
    folder: Path, steps: int = 2, each: int = 4, ranks: int = 1, copies: int = 1, padded: int | None = None
) -> Truth:
    """``ranks`` context-parallel ranks, each with ``copies`` tensor-parallel copies; needs torch."""
    import torch

    made = Sequences(2)
    for step in range(steps):
        drawn = [made.draw(prompt=3 + i, response=5 + 6 * i) for i in range(each)]
        responses = [{name: v[3 + i :] for name, v in x.items()} for i, x in enumerate(drawn)]
        for x in responses:
            made.keep(x)
        for rank in range(ranks * copies):
            place = rank // copies
            columns: dict[str, Any] = {
                "sample_indices": [step * each + i for i in range(each)],
                "tokens": [torch.tensor(x["token_id"]) for x in drawn],
                "loss_masks": [torch.tensor(x["mask"].astype(np.int32)) for x in responses],
                "response_lengths": [len(x["mask"]) for x in responses],
                "total_lengths": [len(x["mask"]) for x in drawn],
                "rewards": [-1.0] * each,
                "raw_reward": [float(i % 2) for i in range(each)],
            }
            for name, key in MILES_FIELDS.items():
                parts = []
                for i, (x, full) in enumerate(zip(responses, drawn, strict=True)):
                    length = padded or len(full["mask"])
                    parts.append(torch.tensor(rank_slice(x[name], 3 + i, place, ranks, length)))
                columns[key] = parts
            if padded:
                columns["max_seq_lens"] = [padded] * each
            content = {"rollout_id": step, "rank": rank, "rollout_data": columns, "cp_rank": place}
            content |= {"cp_size": ranks, "qkv_format": "bshd" if padded else "thd"}
            path = folder / "train_data" / f"{step}_{rank}.pt"
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(content, path)
    return made.truth()


def nemo_rl(folder: Path, steps: int = 3, each: int = 4) -> Truth:
    """A batch padded to one length; the sample mask leaves the last sample out."""
    made = Sequences(3)
    for step in range(1, steps + 1):
        records = []
        for i in range(each):
            x = made.draw(prompt=2 + i, response=10 - i)
            inside = i < each - 1
            if inside:
                made.keep(x)
            records.append(
                {"content": ["text"], "rewards": [float(i % 2)], "input_lengths": [12], "idx": i}
                | {
                    "token_ids": [x["token_id"].tolist()],
                    "token_loss_mask": [x["mask"].astype(float).tolist()],
                }
                | {"sample_loss_mask": [float(inside)], "advantages": [rounded(x["advantage"])]}
                | {"generation_logprobs": [rounded(x["old_logprob"])]}
                | {"prev_logprobs": [rounded(x["logprob"])]}
            )
        lines(folder / f"train_data_step{step}.jsonl", records)
    return made.truth()
