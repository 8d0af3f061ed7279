"""Progress bars that show entropy and accuracy while the lab trains."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from .evaluation import Evaluation
from .training import StepResult
from .warmup import OnStep


class LabProgress:
    """One bar a warm-up or run, on stderr; shows nothing where ``enabled`` is False."""

    def __init__(self, enabled: bool = True) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            disable=not enabled,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def warm_up(self, name: str, steps: int) -> OnStep:
        """A bar for a warm-up; call the result with the steps done."""
        task = self._progress.add_task(name, total=steps, note="supervised")
        return lambda done: self._progress.update(task, completed=done)

    def run(self, label: str, steps: int) -> RunBar:
        """A bar for a run."""
        return RunBar(self._progress, label, steps)


class RunBar:
    """The bar of one run: call it with each event of the training."""

    def __init__(self, progress: Progress, label: str, steps: int) -> None:
        self._progress, self._steps = progress, steps
        self._entropy = self._accuracy = ""
        self._task = progress.add_task(label, total=steps, note="")

    def __call__(self, event: StepResult | Evaluation) -> None:
        """Show the entropy of a step's rollout in nats, or the accuracy of an evaluation at T = 1."""
        if isinstance(event, StepResult):
            self._entropy = f"H {event.rollout.entropy.mean().item():.3f}"
            self._progress.advance(self._task)
        else:
            self._accuracy = f"accuracy {event.accuracy:.3f}"
        self._progress.update(self._task, note=f"{self._entropy}  {self._accuracy}")

    def skip(self) -> None:
        """Fill the bar of a run that is there already."""
        self._progress.update(self._task, completed=self._steps, note="already finished")
