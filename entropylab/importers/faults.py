"""What is wrong with a source: counted and named by file and line, or, if strict, raised at the first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..errors import EntropylabError

SHOWN = 20
"""Faults kept as text; the others are only counted."""


class MalformedRecordError(EntropylabError, ValueError):
    """A line, file or record of a source that is broken; the message names file and line."""


class UnrecognizedSourceError(EntropylabError, ValueError):
    """The source holds nothing of the format that was named; the message says what was looked for."""


class DestinationExistsError(EntropylabError, FileExistsError):
    """The folder to import into exists already; nothing is ever overwritten."""


class RecordError(Exception):
    """Internal: why one record cannot be used; `Faults.at` gives it its place."""


@dataclass
class Faults:
    """Collects what is wrong. ``strict``: the first raises `MalformedRecordError`."""

    strict: bool = False
    count: int = 0
    texts: list[str] = field(default_factory=list)

    def report(self, place: object, why: str) -> None:
        """Note one fault at a place such as ``file:line``."""
        text = f"{place}: {why}"
        if self.strict:
            raise MalformedRecordError(f"{text} (strict: stopped here; nothing was imported)")
        self.count += 1
        if len(self.texts) < SHOWN:
            self.texts.append(text)

    @contextmanager
    def at(self, place: object) -> Iterator[None]:
        """Report a `RecordError` of the body as a fault at this place."""
        try:
            yield
        except RecordError as error:
            self.report(place, str(error))
