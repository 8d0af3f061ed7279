"""What attaching costs: process CPU time of real TRL training, attached and not, in pairs.

Both of a pair train on the same tokens (same seed; observing changes no bit), in turn, so that drift of the
machine cancels. All threads count, the recorder's writer too. The model is small, so the shares are upper
bounds: the work of attaching grows with the tokens, that of training with tokens times weights.
"""

from __future__ import annotations

import logging
import statistics
import sys
import tempfile
import time
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from measure import keep

import entropylab as el

sys.path.append(str(Path(__file__).parents[1] / "tests" / "trainers" / "trl"))

RESPONSES, TOKENS, STEPS, ROUNDS = 16, 96, 4, 9
MODEL = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 4}
MODEL |= {"num_key_value_heads": 4, "vocab_size": 8192, "max_position_embeddings": 256}
VARIANTS: dict[str, Any] = {"observing": None, "clip_cov": el.ClipCov.paper()}


def one_run(folder: Path, seed: int, attached: bool, control: Any = None) -> float:
    """CPU seconds of a training of ``STEPS`` steps, without the making of the trainer."""
    from tiny_trl import make_trainer

    trainer = make_trainer(
        folder,
        seed=seed,
        model_settings=MODEL,
        per_device_train_batch_size=RESPONSES,
        num_generations=RESPONSES // 2,
        max_completion_length=TOKENS,
        max_steps=STEPS,
        learning_rate=1e-4,
    )
    handle = el.attach(trainer, folder / "run", control=control) if attached else None
    start = time.process_time()
    trainer.train()
    if handle is not None:
        handle.detach()
    return time.process_time() - start


def pairs(control: Any) -> list[tuple[float, float]]:
    """CPU seconds (plain, attached) of each round; the order changes from round to round."""
    found = []
    for seed in range(ROUNDS):
        times = {}
        for attached in (False, True) if seed % 2 else (True, False):
            with tempfile.TemporaryDirectory() as name:
                times[attached] = one_run(Path(name), seed, attached, control)
        found.append((times[False], times[True]))
    return found


def figures(found: list[tuple[float, float]]) -> dict[str, float]:
    """Seconds of a step and the share that attaching adds, with its quartiles over the pairs."""
    shares = [attached / plain - 1.0 for plain, attached in found]
    low, median, high = statistics.quantiles(shares, n=4)
    return {
        "plain_step_seconds": statistics.median(plain for plain, _ in found) / STEPS,
        "added_share": median,
        "added_share_low": low,
        "added_share_high": high,
    }


def main() -> None:
    try:
        versions = {name: version(name) for name in ("trl", "transformers", "torch")}
    except PackageNotFoundError as error:
        print(f"skipped: {error}; run  pip install 'entropylab-rl[trl]'")
        return
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        one_run(Path(name), 0, attached=True)
    results = {variant: figures(pairs(control)) for variant, control in VARIANTS.items()}
    keep("attach", {**versions, "tokens_a_step": RESPONSES * TOKENS, **results})


if __name__ == "__main__":
    main()
