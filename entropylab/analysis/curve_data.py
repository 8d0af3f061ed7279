"""The law's points from a run folder, and the curve of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import InsufficientDataError, MissingInputError, UnknownNameError
from .curve import CurveFit, fit_curve
from .curve_points import MIN_POINTS
from .performance import is_share, performance_of

if TYPE_CHECKING:
    import pandas as pd

    from ..record.reader import Run

PLACEBOS = ("RandomClip",)
"""Controls that act on neither entropy nor KL."""
COEFFICIENTS = ("kl_coef", "kl_loss_coef", "entropy_coef", "entropy_coeff")
"""Keys of a trainer's config that hold the weight of an entropy or KL term."""


def law_points(
    run: Run,
    *,
    split: str = "validation",
    metric: str | None = None,
    entropy: str = "entropy_token_mean",
) -> pd.DataFrame:
    """The steps that hold both an entropy and an evaluation: frame of step, entropy, performance, n.

    The evaluation at step s is paired with the entropy of the rollout at step s. metric: by default
    "accuracy", or where there is none the first other performance (`performance_of`). entropy: a column of
    run.steps(), "entropy_token_mean" or "entropy_response_mean" (the paper's H, arXiv 2505.22617, eq. 5).
    Raises UnknownNameError for a split, metric or column that the run does not have, MissingInputError
    where entropies were not recorded, InsufficientDataError for fewer than two common steps.
    """
    metric = performance_of(run, split) if metric is None else metric
    return _paired(run, split, metric, entropy)[0]


def fit_run(
    run: Run,
    *,
    split: str = "validation",
    metric: str | None = None,
    entropy: str = "entropy_token_mean",
    method: str = "auto",
    level: float = 0.95,
) -> CurveFit:
    """The curve R = -a exp(H) + b of a run; see law_points for the points and fit_curve for the fit.

    Warns where the run acted on entropy or KL: the law is claimed without that only (arXiv 2505.22617,
    section 2.6).
    """
    metric = performance_of(run, split) if metric is None else metric
    points, left_out = _paired(run, split, metric, entropy, least=MIN_POINTS)
    fit = fit_curve(
        points["entropy"],
        points["performance"],
        n_problems=points["n"] if is_share(metric) and is_accuracy(points) else None,
        steps=points["step"],
        method=method,
        level=level,
    )
    warnings = (*fit.warnings, *warn_intervention(run.method, run.config))
    return replace(fit, warnings=warnings, left_out=left_out, performance_name=metric)


def is_accuracy(points: pd.DataFrame) -> bool:
    """Whether the performances can be shares of n problems each."""
    return bool(points["performance"].between(0, 1).all() and (points["n"] >= 1).all())


def warn_intervention(label: str, config: Mapping[str, Any]) -> list[str]:
    """A warning where a run's config, or else its method label, names an entropy or KL intervention."""
    found = interventions(label, config)
    if not found:
        return []
    return [
        f"the run acted on entropy or KL ({', '.join(found)}): the law is claimed without that only "
        "(arXiv 2505.22617, section 2.6)"
    ]


def interventions(label: str, config: Mapping[str, Any]) -> list[str]:
    """What acted on entropy or KL, by a run's config, or else its method label."""
    return [*_controls(label, config), *(key for key in COEFFICIENTS if _is_positive(config.get(key)))]


def _controls(label: str, config: Mapping[str, Any]) -> list[str]:
    control, surrogate = config.get("control"), config.get("surrogate")
    if control is None and surrogate is None:
        control, surrogate = _of_method(str(config.get("method_key") or label))
    names = [_name(one) for one in (control if isinstance(control, list) else [control]) if one]
    acting = [name for name in names if name not in PLACEBOS]
    return acting + (_steering(surrogate) if isinstance(surrogate, Mapping) else [])


def _steering(surrogate: Mapping[str, Any]) -> list[str]:
    """Surrogates whose ratio bounds are meant to act on the entropy."""
    name = surrogate.get("name", "PPOClip")
    acts = {
        "clip-higher": name == "PPOClip" and surrogate.get("high", 0) != surrogate.get("low", 0),
        "BAPO": name == "BAPO",
        "CE-GPPO": name == "GPPO" and surrogate.get("beta_high") != surrogate.get("beta_low"),
    }
    return [label for label, found in acts.items() if found]


def _name(control: Any) -> str:
    return str(control.get("name", "unnamed control")) if isinstance(control, Mapping) else str(control)


def _of_method(key: str) -> tuple[Any, Any]:
    """Control and surrogate, as plain data, of a row of the table of methods; nothing for other labels."""
    from ..losses.methods import METHODS
    from ..losses.settings import to_dict

    row = METHODS.get(key)
    return (None, None) if row is None else (to_dict(row.control), to_dict(row.surrogate))


def _is_positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and value > 0


def _paired(
    run: Run, split: str, metric: str, entropy: str, least: int = 2
) -> tuple[pd.DataFrame, tuple[int, ...]]:
    """The points of `law_points`, and the evaluated steps that hold no entropy."""
    chosen = _evaluations(run, split, metric)
    joined = _entropies(run, entropy).merge(chosen, on="step", how="right").sort_values("step")
    points = joined.dropna()
    left_out = tuple(int(step) for step in joined.loc[joined["entropy"].isna(), "step"].unique())
    if len(points) < least:
        lost = f" (evaluated without an entropy: {', '.join(map(str, left_out[:5]))})" if left_out else ""
        raise InsufficientDataError(
            f"run {run.name!r} has {len(points)} steps with both an entropy and {metric!r} on "
            f"{split!r}{lost}, {least} are needed: evaluate at more of the steps that are recorded"
        )
    return points.reset_index(drop=True), left_out


def _evaluations(run: Run, split: str, metric: str) -> pd.DataFrame:
    found = run.evaluations()
    if found.empty:
        raise InsufficientDataError(
            f"run {run.name!r} has no evaluations: call recorder.evaluate(step, metric=..., value=..., "
            "n=...), of an attached trainer handle.recorder.evaluate(...), or give it an "
            "eval_dataset and eval_strategy='steps'"
        )
    chosen = found[(found["split"] == split) & (found["metric"] == metric)]
    if chosen.empty:
        pairs = sorted({f"{s}/{m}" for s, m in zip(found["split"], found["metric"], strict=True)})
        raise UnknownNameError(
            f"run {run.name!r} has no {metric!r} on {split!r}: it has {', '.join(pairs)}; name one "
            "(metric=..., split=...; fit --performance ... --split ...)"
        )
    return chosen[["step", "value", "n"]].rename(columns={"value": "performance"})


def _entropies(run: Run, column: str) -> pd.DataFrame:
    steps = run.steps()
    if steps.empty:
        raise InsufficientDataError(f"run {run.name!r} has no whole step yet: record some first")
    if column not in steps:
        there = ", ".join(name for name in steps.columns if name.startswith("entropy"))
        raise UnknownNameError(f"run {run.name!r} has no column {column!r}: it has {there}")
    if steps[column].isna().all():
        raise MissingInputError(
            f"run {run.name!r} holds no entropies: pass entropy=... to recorder.record (nats, [B, T])"
        )
    frame = steps[["step", column]].rename(columns={column: "entropy"})
    return frame.astype({"entropy": "float64"})
