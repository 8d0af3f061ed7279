"""prime-rl: the traces with annotations where there are any, else the token exports of older versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from . import prime_rl_exports, prime_rl_traces
from .steps import Context, ImportedEvaluation, ImportedStep


def find(source: Path) -> list[Path]:
    """The trace streams, or the rank files of token exports."""
    return prime_rl_traces.find(source) or prime_rl_exports.find(source)


def read(files: list[Path], context: Context) -> Iterator[ImportedStep | ImportedEvaluation]:
    """The steps in order."""
    exports = prime_rl_exports.find(files[0])
    yield from prime_rl_exports.read(files, context) if exports else prime_rl_traces.read(files, context)
