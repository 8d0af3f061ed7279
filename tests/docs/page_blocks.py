"""The blocks of code of a page: what is Python, what is a command."""

from __future__ import annotations

import re
from pathlib import Path

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)


def snippets(page: Path) -> list[str]:
    """Blocks marked python; each runs by itself."""
    return [text for language, text in blocks(page) if language == "python"]


def commands(page: Path) -> list[str]:
    """The lines of blocks without a language: commands that run as they stand."""
    return [line for language, text in blocks(page) if not language for line in text.strip().splitlines()]


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of every block."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))
