"""Progress while the lab trains: bars with entropy and accuracy, or lines where nobody watches."""

from __future__ import annotations

from collections.abc import Callable
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
    """One bar a warm-up or run, on stderr; where that is no terminal a line an evaluation.

    Shows nothing where ``enabled`` is False.
    """

    def __init__(self, enabled: bool = True) -> None:
        console = Console(stderr=True, highlight=False)
        self._lines = console if enabled and not console.is_terminal else None
        self._progress = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not enabled or self._lines is not None,
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
        self._tell(f"{name}: {steps} supervised steps")
        task = self._progress.add_task(name, total=steps, note="supervised")
        return lambda done: self._progress.update(task, completed=done)

    def run(self, label: str, steps: int) -> RunBar:
        """A bar for a run."""
        return RunBar(self._progress, label, steps, self._tell)

    def _tell(self, line: str) -> None:
        if self._lines is not None:
            self._lines.print(line, soft_wrap=True)


class RunBar:
    """The bar of one run: call it with each event of the training."""

    def __init__(self, progress: Progress, label: str, steps: int, tell: Callable[[str], None]) -> None:
        self._progress, self._label, self._steps, self._tell = progress, label, steps, tell
        self._entropy = self._accuracy = ""
        self._task = progress.add_task(label, total=steps, note="")

    def __call__(self, event: StepResult | Evaluation) -> None:
        """Show the entropy of a step's rollout in nats, or the accuracy of an evaluation at T = 1."""
        if isinstance(event, StepResult):
            self._entropy = f"H {event.rollout.entropy.mean().item():.3f}"
            self._progress.advance(self._task)
        else:
            self._accuracy = f"accuracy {event.accuracy:.3f}"
            note = f"{self._entropy}  {self._accuracy}".strip()
            self._tell(f"{self._label}, step {event.step} of {self._steps}, {event.split}: {note}")
        self._progress.update(self._task, note=f"{self._entropy}  {self._accuracy}")

    def skip(self) -> None:
        """Fill the bar of a run that is there already."""
        self._progress.update(self._task, completed=self._steps, note="already finished")
        self._tell(f"{self._label}: already finished")
