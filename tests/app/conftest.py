"""The dashboard on small real runs, without a browser."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

APP = Path(__file__).parents[2] / "app"
CHARTS = {
    "overview": 6,
    "curves": 3,
    "law": 1,
    "tails": 6,
    "selection": 3,
    "what_if": 3,
    "dynamics": 3,
    "influence": 0,
    "tokens": 0,
    "compare": 7,
    "data": 0,
}
"""Every page, and the charts that it draws of three runs without influence."""
VIEWS = tuple(CHARTS)


class Page:
    """One page of the app as a reader sees it."""

    def __init__(self, test: AppTest) -> None:
        self.test = test

    def go(self, view: str) -> Page:
        self.test.switch_page(f"views/{view}.py").run()
        return self

    @property
    def html(self) -> str:
        return "\n".join(element.proto.body for element in self.test.get("html"))

    @property
    def sentences(self) -> list[str]:
        """The plain sentences that stand in place of something that cannot be shown."""
        return [element.value for element in self.test.info]

    @property
    def charts(self) -> int:
        return len(self.test.get("plotly_chart"))

    @property
    def exceptions(self) -> list[str]:
        return [element.value for element in self.test.exception]


@pytest.fixture
def open_app(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Page]:
    """``open_app(path, ...)``: a page of the app, its first one or ``view``, on these data roots."""

    def start(*roots: Path | str, view: str = VIEWS[0], query: dict[str, list[str]] | None = None) -> Page:
        monkeypatch.setenv("ENTROPYLAB_PATHS", os.pathsep.join(map(str, roots)))
        test = AppTest.from_file(str(APP / "main.py"), default_timeout=60)
        for key, values in (query or {}).items():
            test.query_params[key] = values
        return Page(test).go(view)

    return start


@pytest.fixture(scope="session")
def runs(make_run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two groups: a baseline and a Clip-Cov run of two seeds from one start, a baseline alone in another."""
    folder = tmp_path_factory.mktemp("roots") / "runs"
    for seed in (0, 1):
        for method in ("baseline", "clip_cov"):
            make_run(folder / "start-a" / f"{method}-s{seed}", method=method, steps=14, prompts=12, seed=seed)
    make_run(folder / "other" / "baseline-s0", method="baseline", steps=5, prompts=12, seed=3)
    return folder
