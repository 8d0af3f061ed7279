"""The page of the study and its table on the front page, from their templates: ``python docs/study/page.py``.

A field ``{{less | A | clip_cov | pass@8}}`` of the template names a number of the results.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import influence
import law
import methods
import pandas as pd
import tails
from paired import Difference
from stored import CURVES, RUN, SCORES, STARTS_FILE, TIMES

STUDY = Path(__file__).parent
PAGE, TEMPLATE = STUDY / "README.md", STUDY / "README.template.md"
FRONT, FRONT_TABLE = STUDY.parents[1] / "README.md", STUDY / "front.template.md"
MARKED = re.compile(r"(?<=docs/study/page.py -->\n).*?(?=<!-- end -->)", flags=re.DOTALL)
"""Of the front page, what lies between two comments."""
FIELD = re.compile(r"\{\{([^}]*)\}\}")


@cache
def _table(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path)


def _of(path: Path, regime: str) -> pd.DataFrame:
    frame = _table(path)
    return frame[frame["regime"] == regime]


def _text(found: Difference | None) -> str:
    return "not yet trained" if found is None else found.text()


def _less(regime: str, arm: str, measure: str) -> str:
    """An arm less the baseline at equal steps."""
    return _text(methods.differences(_of(SCORES, regime), arm, methods.MEASURES[measure]))


def _beside(regime: str, arm: str, measure: str) -> str:
    """An arm less Clip-Cov at equal steps."""
    scores = _of(SCORES, regime)
    return _text(methods.differences(scores, arm, methods.MEASURES[measure], methods.CLIP_COV))


def _star(regime: str, arm: str, measure: str) -> str:
    """The same on the problems that need multiplication."""
    scores = methods.only_multiplication(_of(SCORES, regime))
    return _text(methods.differences(scores, arm, methods.MEASURES[measure]))


def _at_equal_entropy(regime: str, arm: str, metric: str) -> str:
    return _text(methods.at_equal_entropy(_of(CURVES, regime), arm, metric)[0])


def _level(regime: str, arm: str, measure: str) -> str:
    """A mean at the end of the runs of an arm, or of its starts."""
    if measure == "H":
        rows = _of(CURVES, regime)
        rows = rows[rows["arm"] == arm]
        return f"{rows.loc[rows.groupby(['warm_up', 'seed'])['step'].idxmax(), 'entropy'].mean():.2f}"
    rows = _of(STARTS_FILE, regime) if arm == "start" else _of(SCORES, regime).query("arm == @arm")
    return f"{methods.MEASURES[measure](rows).mean():.3f}"


def _warm_ups(regime: str, arm: str = methods.BASELINE) -> str:
    return str(_of(SCORES, regime).query("arm == @arm")["warm_up"].nunique())


def _influence(regime: str, arm: str, proxy: str, measure: str, part: str = influence.WHOLE) -> str:
    """A figure of a quantity as a ranking of tokens, with its interval."""
    rows = _table(influence.INFLUENCE).query(
        "regime == @regime and arm == @arm and proxy == @proxy and part == @part"
    )
    return influence.cell(rows.iloc[0], measure)


def _tail(regime: str, arm: str, part: str, name: str) -> str:
    """A mean over the runs of an arm."""
    rows = _table(tails.TAILS).query("regime == @regime and arm == @arm and part == @part")
    value = rows[name].mean()
    return f"{value:.2f}" if name.startswith("ratio") else f"{value:.0%}"


@cache
def _sized_runs() -> list[law.SizedRun]:
    return law.sized_runs()


def _forecast(way: str, name: str) -> str:
    """Mean RMSE of a forecast over the runs of the law."""
    found = [errors[name] for run in _sized_runs() for key, errors in law.forecasts(run) if key == way]
    return f"{sum(found) / len(found):.3f}"


def _law(what: str) -> str:
    """Of the runs of the law: how many there are, or how many ceilings have no interval."""
    runs = _sized_runs()
    if what == "runs":
        return str(len(runs))
    return str(sum(run.fit.intervals["ceiling"] is None for run in runs))


def _hours() -> str:
    return f"{_table(TIMES)['seconds'].sum() / 3600:.1f}"


def _runs() -> str:
    return str(len(_table(SCORES)[RUN].drop_duplicates()))


FIELDS: dict[str, Callable[..., str]] = {
    "less": _less,
    "less, * needed": _star,
    "less clip_cov": _beside,
    "at equal entropy": _at_equal_entropy,
    "level": _level,
    "warm-ups": _warm_ups,
    "influence": _influence,
    "tail": _tail,
    "forecast": _forecast,
    "law": _law,
    "hours": _hours,
    "runs": _runs,
}


def render(text: str) -> str:
    """The template with its fields filled."""

    def fill(match: re.Match[str]) -> str:
        name, *given = (part.strip() for part in match[1].split("|"))
        return FIELDS[name](*given)

    return FIELD.sub(fill, text)


def pages() -> dict[Path, str]:
    """Both pages as the results have them."""
    table = render(FRONT_TABLE.read_text())
    front = MARKED.sub(lambda match: table, FRONT.read_text())
    return {PAGE: render(TEMPLATE.read_text()), FRONT: front}


def main() -> None:
    """Write the pages."""
    for path, text in pages().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
