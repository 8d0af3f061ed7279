"""A curve fit in words and as a dict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .jsonable import jsonable

if TYPE_CHECKING:
    from .curve import CurveFit

_HIDDEN = ("line", "grid", "alternatives")


def curve_summary(fit: CurveFit) -> str:
    """Lines of text: the ceiling first, then the coefficients, the noise and the warnings."""
    lines = [_headline(fit), _form_line(fit), _coefficients(fit), _noise(fit)]
    if fit.performance_name not in (None, "accuracy"):
        lines.append(f"R is {fit.performance_name!r}.")
    lines += [f"{note}." for note in left_out(fit)]
    lines += [f"Warning: {warning}." for warning in fit.warnings]
    return "\n".join(lines)


def curve_dict(fit: CurveFit) -> dict[str, Any]:
    """Every public field as plain JSON values, and what the interval is conditional on."""
    shown = {name: value for name, value in vars(fit).items() if name not in _HIDDEN}
    return jsonable(
        {
            **shown,
            "n_points": fit.n_points,
            "formula": "R = -a exp(H) + b",
            "conditional_on": "the law R = -a exp(H) + b",
        }
    )


def _headline(fit: CurveFit) -> str:
    law = f"R = {0.0 - fit.a:.4g} exp(H) {fit.b:+.4g}"
    interval = fit.intervals["ceiling"]
    if interval is None:
        return (
            f"Ceiling (H = 0) {fit.ceiling:.4g} by least squares, {law}; its interval, conditional on the "
            f"law, is withheld: {fit.withheld}."
        )
    return (
        f"Ceiling (H = 0) {fit.ceiling:.4g}, {100 * fit.level:g} % interval {_between(interval)} "
        f"conditional on the law {law}."
    )


def _form_line(fit: CurveFit) -> str:
    if fit.form_band is None:
        return "Form band (five curve shapes): withheld too."
    return f"Form band of the ceiling, over five curve shapes: {_between(fit.form_band)}."


def _coefficients(fit: CurveFit) -> str:
    parts = []
    for name, value, se in (("a", fit.a, fit.se_a), ("b", fit.b, fit.se_b)):
        interval = fit.intervals[name]
        span = f", {_between(interval)}" if interval else ""
        parts.append(f"{name} = {value:.4g} (se {se:.2g}{span})")
    return f"{'; '.join(parts)}; method {fit.method!r}, {fit.n_points} points."


def _noise(fit: CurveFit) -> str:
    r2 = "undefined" if fit.r2 is None else f"{fit.r2:.3f}"
    text = (
        f"R2 {r2}, residual sd {fit.residual_sd:.3g}, autocorrelation {fit.rho:.2f}, "
        f"effective points {fit.effective_points:.1f}"
    )
    if fit.binomial_sd is not None:
        text += f", {_sampling(fit.binomial_sd, fit.residual_sd)}"
    return text + "."


def _sampling(binomial_sd: float, residual_sd: float) -> str:
    if binomial_sd >= residual_sd:
        return f"no more than the sd of {binomial_sd:.3g} that sampling gives"
    return f"of which sampling explains an sd of {binomial_sd:.3g}"


def left_out(fit: CurveFit) -> list[str]:
    """What is said of evaluations that have no entropy; nothing where there are none."""
    if not fit.left_out:
        return []
    first, n = fit.left_out[0], len(fit.left_out)
    which = f"the evaluation at step {first}" if n == 1 else f"{n} evaluations (step {first} the first)"
    return [f"Left out: {which}, for no rollout of the same policy holds an entropy"]


def _between(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.4g} to {interval[1]:.4g}"
