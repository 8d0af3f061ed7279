"""What attaching to TRL costs on a GPU: wall-clock time of a step, plain, observed, and with Clip-Cov.

    python benchmarks/bench_attach_cuda.py

A random model of 12 layers in bf16, 64 responses of 128 tokens a step; plain and attached runs in turn, on
the same seeds. The first step of each run is left out.
"""

from __future__ import annotations

import itertools
import logging
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from measure import keep

import entropylab as el

sys.path.append(str(Path(__file__).parents[1] / "tests" / "trainers" / "trl"))

RESPONSES, TOKENS, STEPS, ROUNDS = 64, 128, 5, 2
MODEL = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 12, "num_attention_heads": 16}
MODEL |= {"num_key_value_heads": 4, "vocab_size": 32_000, "max_position_embeddings": 256}
MODEL |= {"initializer_range": 0.02}
PLAIN, VARIANTS = "plain", {"observing": None, "clip_cov": el.ClipCov.paper()}


def step_seconds(folder: Path, seed: int, variant: str) -> list[float]:
    """Seconds of the training steps after the first."""
    from tiny_trl import make_trainer
    from transformers import TrainerCallback

    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            torch.cuda.synchronize()
            times.append(time.perf_counter())

    trainer = make_trainer(
        folder,
        seed=seed,
        dtype=torch.bfloat16,
        model_settings=MODEL,
        per_device_train_batch_size=RESPONSES,
        num_generations=RESPONSES // 8,
        max_completion_length=TOKENS,
        max_steps=STEPS,
        learning_rate=1e-5,
        use_cpu=False,
        bf16=True,
    )
    trainer.add_callback(Clock())
    handle = None if variant == PLAIN else el.attach(trainer, folder / "run", control=VARIANTS[variant])
    trainer.train()
    if handle is not None:
        handle.detach()
        assert len(el.open_run(folder / "run").steps()) == STEPS
    return [b - a for a, b in itertools.pairwise(times)]


def main() -> None:
    if not torch.cuda.is_available():
        print("skipped: no CUDA device")
        return
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    times: dict[str, list[float]] = {name: [] for name in (PLAIN, *VARIANTS)}
    for seed in range(ROUNDS):
        for name in times:
            with tempfile.TemporaryDirectory() as folder:
                times[name] += step_seconds(Path(folder), seed, name)
    medians = {name: statistics.median(values) for name, values in times.items()}
    figures: dict[str, Any] = {"device": torch.cuda.get_device_name(), "tokens_a_step": RESPONSES * TOKENS}
    figures["step_seconds"] = {name: round(value, 4) for name, value in medians.items()}
    figures["over_plain"] = {name: round(medians[name] / medians[PLAIN] - 1.0, 4) for name in VARIANTS}
    spread = [abs(x / medians[PLAIN] - 1.0) for x in times[PLAIN]]
    figures["plain_steps_differ_by"] = round(statistics.median(spread), 4)
    keep("attach_cuda", figures)


if __name__ == "__main__":
    main()
