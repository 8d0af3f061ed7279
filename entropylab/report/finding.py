"""One analysis of one run: its result, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from entropylab.errors import EntropylabError

if TYPE_CHECKING:
    from entropylab.record.reader import Run


@dataclass(frozen=True)
class Finding:
    """One analysis of one run, or of all: its result, or ``missing``: why there is none, as a sentence."""

    label: str
    run: Run | None = None
    result: Any = None
    missing: str = ""


def attempt(label: str, analysis: Callable[[], Any], run: Run | None = None) -> Finding:
    """The finding of ``analysis()``; an error of ours becomes the reason."""
    try:
        return Finding(label, run, analysis())
    except EntropylabError as error:
        return Finding(label, run, missing=" ".join(str(error).split()).rstrip("."))
