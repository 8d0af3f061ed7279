"""Write docs/reference/methods.md from ``METHODS``: ``python docs/generate/method_page.py``."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from page_tables import code, table

from entropylab.losses.methods import METHODS

OUT = Path(__file__).parents[1] / "reference" / "methods.md"
INTRODUCTION = """# Methods

Every row of `el.METHODS`, written by `make pages`. A row names a surrogate and a control under a fixed key:

```python
import entropylab as el

row = el.METHODS["kl_cov_7b"]
print(row.surrogate, row.control, row.needs, row.origin)
```

`el.policy_loss(..., surrogate=row.surrogate, control=row.control)` trains with it, `entropylab replay \
PATH --method KEY` says which logged tokens it would have chosen. Clip-Cov and KL-Cov stand here in two \
forms each: [both forms side by side](../concepts/forms.md). Surrogates and controls with all their \
settings are in the API: [losses](api/losses.md), [controls](api/controls.md).

## What they do
"""
SETTINGS = """## Their settings

What differs from the defaults of the class; `needs` are the optional inputs of `policy_loss` that a row \
cannot do without.
"""


def main() -> None:
    """Write the page."""
    OUT.write_text(page(), encoding="utf-8")


def page() -> str:
    """The whole page."""
    texts = [(code(key), row.text, row.origin) for key, row in METHODS.items()]
    settings = [
        (code(key), shown(row.surrogate), shown(row.control), needs(row.needs), shown(row.advantages))
        for key, row in METHODS.items()
    ]
    first = table(("key", "what it does", "from"), texts)
    second = table(("key", "surrogate", "control", "needs", "advantages"), settings)
    return "\n".join([INTRODUCTION, first, "", SETTINGS, second, ""])


def shown(setting: Any) -> str:
    """The settings of a class that differ from its defaults; a dash for none at all."""
    if setting is None:
        return "-"
    given = [(f, getattr(setting, f.name)) for f in fields(setting) if f.init]
    changed = [f"{f.name}={value!r}" for f, value in given if value != f.default]
    return code(f"{type(setting).__name__}({', '.join(changed)})")


def needs(names: tuple[str, ...]) -> str:
    """The names of inputs; a dash for none."""
    return ", ".join(map(code, names)) or "-"


if __name__ == "__main__":
    main()
