"""``entropylab watch``: follow runs under way in the terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .outcomes import Outcome, analyse
from .output import FINDINGS, OK, console, print_json, say
from .sources import Json, Paths, load_runs

if TYPE_CHECKING:
    from entropylab.analysis.health import Health
    from entropylab.record.reader import Run

BARS = "▁▂▃▄▅▆▇█"
SPARK = 8
TEXT = ("run", "entropy", "state")
COLUMNS = ("run", "step", "entropy", "now", "left", "half-life", "R", "state")
"""R: the performance, called by its name where the runs share one."""
REWARD = "reward"

EXAMPLES = ("entropylab watch runs/demo", "entropylab watch sample_logs/rare-x --once")


def command(
    paths: Paths,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 5.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    json: Json = False,
) -> None:
    """Follow runs in the terminal: entropy, its half-life, performance and alerts; Ctrl-C ends it.

    Where stdout is no terminal, and with --json, it looks once. Exit code 1 where there is an alert.
    """
    runs = load_runs(paths)
    out = console()
    if json or once or not out.is_terminal:
        still = [run.frozen() for run in runs]
        outcomes = look(still)
        if json:
            print_json("watch", [outcome.to_dict() for outcome in outcomes])
        else:
            out.print(screen(still, outcomes))
        raise typer.Exit(OK if all(outcome.fine for outcome in outcomes) else FINDINGS)
    try:
        with Live(_now(runs), console=out, auto_refresh=False) as live:
            while True:
                time.sleep(every)
                runs = _again(runs, load_runs(paths))
                live.update(_now(runs), refresh=True)
    except KeyboardInterrupt:
        say("Stopped watching; the runs go on.")


def _now(runs: Sequence[Run]) -> Group:
    """The screen, each folder listed once."""
    still = [run.frozen() for run in runs]
    return screen(still, look(still))


def _again(known: Sequence[Run], found: Sequence[Run]) -> list[Run]:
    """The runs found, by the readers that have parsed their files before, unless a run was opened anew."""
    before = {str(run.path): run for run in known}
    kept = [(before.get(str(run.path), run), run) for run in found]
    return [old if old.info == new.info else new for old, new in kept]


def look(runs: Sequence[Run]) -> list[Outcome]:
    """The health of each run now; its alerts are findings."""
    return [_with_alerts(outcome) for outcome in analyse(runs, _health, rows=False)]


def screen(runs: Sequence[Run], outcomes: Sequence[Outcome]) -> Group:
    """A table of the runs, then a line an alert."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    found = [
        ("", float("nan")) if outcome.result is None else _performance(run)
        for run, outcome in zip(runs, outcomes, strict=True)
    ]
    names = {name for name, _ in found if name}
    shared = names.pop() if len(names) == 1 else ""
    for name in COLUMNS:
        heading = shared if name == "R" and shared else name
        table.add_column(heading, justify="left" if name in TEXT else "right", overflow="fold")
    lines = []
    for run, outcome, (name, value) in zip(runs, outcomes, found, strict=True):
        table.add_row(*_cells(run, outcome, _performance_text(name, value, shared)))
        lines += [Text(f"{outcome.name}: {text}") for text in _notes(outcome)]
    return Group(table, *([Text()] if lines else []), *lines)


def sparkline(values: np.ndarray, width: int = SPARK) -> str:
    """The means of so many stretches as bars from 0 to the largest; a blank where none is known."""
    parts = [part[np.isfinite(part)] for part in np.array_split(values, min(width, max(len(values), 1)))]
    means = [float(part.mean()) if len(part) else None for part in parts]
    top = max((m for m in means if m is not None), default=0.0)
    if top <= 0:
        return " " * len(means)
    places = [None if m is None else round(max(m, 0.0) / top * (len(BARS) - 1)) for m in means]
    return "".join(" " if place is None else BARS[place] for place in places)


def _health(run: Run) -> Health:
    from entropylab.analysis.health import run_health

    return run_health(run)


def _with_alerts(outcome: Outcome) -> Outcome:
    alerts = () if outcome.result is None else outcome.result.alerts
    return replace(outcome, findings=tuple(alert.message for alert in alerts))


def _cells(run: Run, outcome: Outcome, performance: str) -> list[Text]:
    health: Health | None = outcome.result
    if health is None:
        return [Text(part) for part in (outcome.name, *("-",) * 6, "no step yet")]
    left, half = health.entropy_left, health.decline and health.decline.half_life
    parts = (
        outcome.name,
        str(health.last_step),
        sparkline(run.steps()["entropy_token_mean"].to_numpy(dtype=float)),
        "-" if health.entropy_now is None else f"{health.entropy_now:.3f}",
        "-" if left is None else f"{100 * left:.0f} %",
        "-" if half is None else f"{half:,.0f} steps",
        performance,
        health.verdict,
    )
    return [Text(part) for part in parts]


def _performance(run: Run) -> tuple[str, float]:
    """The last validation value of what the run is judged by, else its mean reward; "" where it has none."""
    from entropylab.analysis.performance import performance_of
    from entropylab.record.alerts import RECENT

    name, evaluated = performance_of(run), run.evaluations()
    chosen = evaluated[(evaluated["split"] == "validation") & (evaluated["metric"] == name)]
    if len(chosen):
        return name, float(chosen.sort_values("step")["value"].iloc[-1])
    rewards = run.steps()["reward_mean"].tail(RECENT).dropna()
    return (REWARD, float(rewards.mean())) if len(rewards) else ("", float("nan"))


def _performance_text(name: str, value: float, shared: str) -> str:
    if not name:
        return "-"
    return f"{value:.3f}" if name == shared else f"{value:.3f} {name}"


def _notes(outcome: Outcome) -> list[str]:
    notes = [f"not possible: {outcome.missing}"] if outcome.missing else []
    return [*notes, *outcome.findings, *(p["message"] for p in outcome.problems[:3])]
