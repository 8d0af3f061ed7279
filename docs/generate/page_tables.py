"""Markdown tables of the generated pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, right: int | None = None) -> str:
    """A table; columns from number ``right`` on are aligned to the right."""
    lines = [list(map(cell, head))]
    lines.append(["---" if right is None or i < right else "---:" for i in range(len(head))])
    lines += [list(map(cell, row)) for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(value: object) -> str:
    """What stands in a cell: no bar or line break that would end it."""
    return str(value).replace("|", "\\|").replace("\n", " ")


def code(text: object) -> str:
    """The text as code."""
    return f"`{text}`"
