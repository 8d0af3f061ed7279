"""Step-level logs without any run folder: their points of the law, and the outcome of a fit."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entropylab.importers.law_rows import LawRows, law_rows
from entropylab.importers.metrics_files import is_metrics_path, read_metrics

from .outcomes import Outcome, attempt

if TYPE_CHECKING:
    from entropylab.analysis.curve import CurveFit


def is_metrics_file(path: str) -> bool:
    """Whether the path is a step-level log rather than a run folder."""
    return is_metrics_path(path)


def read_points(
    path: str, entropy: str | None = None, performance: str | None = None, step: str | None = None
) -> dict[str, LawRows]:
    """The points of the law of each run in a log; see `entropylab.importers.law_rows` for the rule."""
    logs = read_metrics(path)
    sources = {name: path if len(logs) == 1 else f"{path} (run {name})" for name in logs}
    return {name: law_rows(log, entropy, performance, step, sources[name]) for name, log in logs.items()}


def fit_log(path: str, name: str, rows: LawRows, **settings: Any) -> Outcome:
    """The fit of one log; its broken lines and values that are not finite are data problems."""
    problems = [{"kind": "metrics_file", "path": path, "message": text} for text in rows.problems]
    return attempt(name, partial(_fit, rows, **settings), problems)


def _fit(rows: LawRows, **settings: Any) -> CurveFit:
    from entropylab.analysis.curve import fit_curve

    frame = rows.frame
    found = fit_curve(frame["entropy"], frame["performance"], steps=frame.get("step"), **settings)
    return replace(found, warnings=(*rows.notes, *found.warnings))


def used_columns(path: str, name: str, rows: LawRows) -> dict[str, Any]:
    """Which columns a fit used, JSON-ready."""
    chosen = rows.columns
    columns = {"entropy": chosen.entropy, "performance": chosen.performance, "step": rows.step}
    return {"run": name, "path": str(Path(path)), **columns, "names_of": chosen.trainer}
