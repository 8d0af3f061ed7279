"""What `attach` returns: the hold on a trainer."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from ..record.recorder import Recorder


class Attachment(Protocol):
    """What an adapter keeps while it is attached."""

    @property
    def recorder(self) -> Recorder:
        """The open recorder."""
        ...

    @property
    def control(self) -> Any:
        """The control in force; None where one only observes."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What the adapter settled by itself, in sentences."""
        ...

    def restore(self) -> None:
        """Give the trainer back its own class and behaviour."""
        ...


class Handle:
    """The hold on a trainer; also a context manager, which detaches at its end."""

    def __init__(self, attachment: Attachment) -> None:
        self._attachment = attachment
        self._attached = True

    @property
    def recorder(self) -> Recorder:
        """The recorder of the run; it stays readable after `detach`."""
        return self._attachment.recorder

    @property
    def control(self) -> Any:
        """The control in force, with the settings that `attach` filled in; None where one only observes.

        A control that follows the entropy is its own state: keep this beside a checkpoint.
        """
        return self._attachment.control

    @property
    def notes(self) -> tuple[str, ...]:
        """What `attach` settled by itself, one sentence each."""
        return self._attachment.notes

    def detach(self) -> None:
        """Give the trainer its own class back and close the recorder; a second call does nothing."""
        if self._release():
            self.recorder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._release():
            self.recorder.__exit__(kind, error, trace)

    def _release(self) -> bool:
        attached, self._attached = self._attached, False
        if attached:
            self._attachment.restore()
        return attached
