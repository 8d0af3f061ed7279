"""What ``entropylab demo`` runs: the collapse and both methods on real RL, in minutes on two cores."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..record.reader import Run, open_run
from .experiment import run_preset
from .settings import DEMO

WARM_STARTS = "warm-starts"


def run_demo(
    out: str | os.PathLike[str],
    *,
    steps: int = 150,
    seed: int = 0,
    methods: Sequence[str] = ("baseline", "clip_cov", "kl_cov"),
    overwrite: bool = False,
    progress: bool = True,
    head: str = "logits",
) -> list[Run]:
    """Train one warm start with each method, into ``out/<method>``; the finished runs.

    ``methods`` are labels of the demo or keys of METHODS. Finished runs are kept, unfinished ones made again;
    ``overwrite`` makes all again. The warm start lies in ``out/warm-starts`` and is used again. ``head``:
    the loss from ``logits`` of all tokens, or ``fused``, from hidden states.
    Errors: InvalidInputError for a head or a folder that holds something else; UnknownNameError for a method.
    """
    folder = Path(out)
    preset = DEMO.with_settings(steps=steps, seed=seed, head=head).with_methods(methods)
    folders = run_preset(preset, folder, cache=folder / WARM_STARTS, overwrite=overwrite, progress=progress)
    return [open_run(path) for path in folders]
