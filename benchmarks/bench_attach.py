"""What attaching costs: CPU time of real TRL training, counted in two ways.

``own``: the time inside entropylab's methods without the trainer's that they call, and that of the recorder's
writer thread, over that of the trainer. ``paired``: process CPU time attached over not attached, less one,
on the same tokens (same seed; observing changes no bit), in turn; on a machine that others use its noise is
larger than the figure. The model is small, so the shares are upper bounds: the work of attaching grows with
the tokens, that of training with tokens times weights. An update is one micro-batch, but for
``clip_cov_forward``: two, on-policy, so that choosing over both takes one more forward pass, which ``own``
counts as the trainer's.
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

from cpu_account import watching, writer_seconds
from measure import keep

import entropylab as el

sys.path.append(str(Path(__file__).parents[1] / "tests" / "trainers" / "trl"))

RESPONSES, TOKENS, STEPS, ROUNDS = 16, 64, 3, 3
MODEL = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 4}
MODEL |= {"num_key_value_heads": 4, "vocab_size": 8192, "max_position_embeddings": 256}
VARIANTS: dict[str, tuple[Any, int]] = {
    "observing": (None, 1),
    "clip_cov": (el.ClipCov.paper(), 1),
    "clip_cov_forward": (el.ClipCov.paper(), 2),
}
"""Control and micro-batches of an update."""


def make(folder: Path, seed: int, pieces: int) -> Any:
    """A trainer of ``STEPS`` steps."""
    from tiny_trl import make_trainer

    return make_trainer(
        folder,
        seed=seed,
        model_settings=MODEL,
        per_device_train_batch_size=RESPONSES // pieces,
        gradient_accumulation_steps=pieces,
        num_generations=RESPONSES // 2,
        max_completion_length=TOKENS,
        max_steps=STEPS,
        learning_rate=1e-4,
    )


def own_share(control: Any, pieces: int, seed: int) -> float:
    """CPU seconds of entropylab over those of the trainer."""
    from trl import GRPOTrainer

    from entropylab.trainers.trl.seam import Seam

    with tempfile.TemporaryDirectory() as name:
        trainer = make(Path(name), seed, pieces)
        with watching({"entropylab": Seam, "trainer": GRPOTrainer}) as account:
            handle = el.attach(trainer, Path(name) / "run", control=control)
            trainer.train()
            writing = writer_seconds()
            handle.detach()
    return (account.seconds["entropylab"] + writing) / account.seconds["trainer"]


def one_run(folder: Path, seed: int, attached: bool, control: Any = None, pieces: int = 1) -> float:
    """CPU seconds of a training, without the making of the trainer."""
    trainer = make(folder, seed, pieces)
    handle = el.attach(trainer, folder / "run", control=control) if attached else None
    start = time.process_time()
    trainer.train()
    if handle is not None:
        handle.detach()
    return time.process_time() - start


def pairs(control: Any, pieces: int) -> list[tuple[float, float]]:
    """CPU seconds (plain, attached) of each round; the order changes from round to round."""
    found = []
    for seed in range(ROUNDS):
        times = {}
        for attached in (False, True) if seed % 2 else (True, False):
            with tempfile.TemporaryDirectory() as name:
                times[attached] = one_run(Path(name), seed, attached, control, pieces)
        found.append((times[False], times[True]))
    return found


def figures(control: Any, pieces: int) -> dict[str, float]:
    """Seconds of a step, and the share that attaching adds; that of the pairs with its quartiles."""
    own = [own_share(control, pieces, seed) for seed in range(ROUNDS)]
    found = pairs(control, pieces)
    low, median, high = statistics.quantiles([attached / plain - 1.0 for plain, attached in found], n=4)
    return {
        "plain_step_seconds": statistics.median(plain for plain, _ in found) / STEPS,
        "own_share": statistics.median(own),
        "own_share_largest": max(own),
        "paired_share": median,
        "paired_share_low": low,
        "paired_share_high": high,
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
    results = {variant: figures(*settings) for variant, settings in VARIANTS.items()}
    keep("attach", {**versions, "tokens_a_step": RESPONSES * TOKENS, **results})


if __name__ == "__main__":
    main()
