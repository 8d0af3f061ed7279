"""Write docs/reference/columns.md from ``entropylab.schema``: ``python docs/generate/column_page.py``."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from page_tables import code, table

from entropylab import schema
from entropylab.schema import FORMAT_VERSION, RESPONSE_COLUMNS, SUMMARY_COLUMNS, TOKEN_COLUMNS, Column

OUT = Path(__file__).parents[1] / "reference" / "columns.md"
INTRODUCTION = """# Columns of the log

Every column of every file, written by `make pages` from `entropylab/schema.py`: format {version}. A \
reader refuses a newer format by name. Entropies and log-probabilities are natural: nats.

## The run folder

```text
{folder}
```

`a1` is the attempt: a restarted rank writes `a2`, and readers keep the highest. Read the folder with \
`el.open_run`, with `entropylab sql` or with any engine that reads Parquet ([large runs](../scale.md)).

Null: the column may be empty where the value was not recorded. Tokens outside the mask are not written.
"""
SECTIONS: tuple[tuple[str, str, tuple[Column, ...]], ...] = (
    ("Tokens", "One row a token: `run.tokens()`.", TOKEN_COLUMNS),
    ("Responses", "One row a response; the text is stored where it was given.", RESPONSE_COLUMNS),
    (
        "Steps",
        'One row a step, or with `by="update"` a (step, update): `run.steps()`. Exact over ALL tokens of '
        "all ranks, also of those whose rows are not stored; made by the recorder, merged by the reader. A "
        "mean is null where one of its values is missing or not finite. Further columns `metrics/<name>` "
        "hold the scalars given to `Recorder.record`: their mean over micro-steps, ranks and updates.",
        SUMMARY_COLUMNS,
    ),
)


def main() -> None:
    """Write the page."""
    OUT.write_text(page(), encoding="utf-8")


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION.format(version=FORMAT_VERSION, folder=folder())]
    parts += [f"## {title}\n\n{text}\n\n{columns(found)}\n" for title, text, found in SECTIONS]
    return "\n".join(parts)


def folder() -> str:
    """The drawing of the run folder in the module's docstring."""
    (drawn,) = re.findall(r"::\n\n(.*?)\n\n", inspect.getdoc(schema) or "", flags=re.DOTALL)
    return textwrap.dedent(drawn)


def columns(found: Sequence[Column]) -> str:
    """The columns of one kind of file."""
    rows = [(code(c.name), c.type, c.unit, "yes" if c.nullable else "", c.meaning) for c in found]
    return table(("column", "type", "unit", "null", "meaning"), rows)


if __name__ == "__main__":
    main()
