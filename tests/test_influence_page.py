"""The example of the page on influence runs."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

PAGE = (Path(__file__).parent.parent / "docs" / "influence.md").read_text(encoding="utf-8")


def test_the_examples_run(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    given: dict[str, object] = {}
    with redirect_stdout(io.StringIO()) as out:
        for example in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
            exec(example, given)
    assert "jvp" in out.getvalue()
    assert given["found"].tokens.shape == (16, 10)
    assert (tmp_path / "runs/influence/_run.json").is_file()
