"""Experiments: several methods from one warm start, each into its own run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from ..record.recorder import Recorder
from ..record.token_sampling import TokenSampling
from .evaluation import Evaluation
from .progress import LabProgress
from .recording import record_event
from .run_folder import claim_folder, run_config
from .settings import LabMethod, LabSettings, Preset
from .tasks import task_named
from .training import StepResult, train
from .warmup import load_start, start_path

OnEvent = Callable[[StepResult | Evaluation], None]


@dataclass(frozen=True)
class RunPlan:
    """One run to be made: its folder, method and settings."""

    folder: Path
    method: LabMethod
    settings: LabSettings


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread inside: the model is too small for more, and results stay the same bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def make_run(plan: RunPlan, cache: Path, *, overwrite: bool = False, on_event: OnEvent | None = None) -> bool:
    """Make one run from its warm start; False where the folder holds it already.

    An unfinished run of the same settings is deleted and made again.
    """
    method, settings = plan.method, plan.settings
    config = run_config(method, settings)
    if not claim_folder(plan.folder, config, overwrite=overwrite):
        return False
    model = load_start(cache, settings.start)
    task = task_named(settings.start.task)
    sampling = TokenSampling(every_steps=settings.token_every)
    with Recorder(plan.folder, config=config, method=method.label, token_sampling=sampling) as recorder:
        for event in train(model, method, settings):
            record_event(recorder, event, texts=sampling.stores(event.step), task=task)
            if on_event is not None:
                on_event(event)
    return True


def run_preset(
    preset: Preset, out: Path, *, cache: Path, overwrite: bool = False, progress: bool = True
) -> list[Path]:
    """Make the runs of a preset one after the other, in folders named after the methods; the folders.

    Finished runs are kept, unfinished ones made again; ``overwrite`` makes all of them again.
    """
    plans = [RunPlan(out / method.label, method, preset.settings) for method in preset.methods]
    with one_thread(), LabProgress(progress) as bars:
        ensure_start(preset.settings, cache, bars)
        for plan in plans:
            bar = bars.run(plan.method.label, plan.settings.steps)
            if not make_run(plan, cache, overwrite=overwrite, on_event=bar):
                bar.skip()
    return [plan.folder for plan in plans]


def ensure_start(settings: LabSettings, cache: Path, bars: LabProgress) -> None:
    """Train the warm start into the cache folder, with a bar, where it is missing."""
    if not start_path(cache, settings.start).exists():
        bar = bars.warm_up("warm-up", settings.start.stop)
        load_start(cache, settings.start, bar)
