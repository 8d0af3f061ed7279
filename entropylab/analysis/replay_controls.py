"""The controls that a replay sets beside each other: a run's own, and others with as many tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import EntropylabError

if TYPE_CHECKING:
    from ..losses.interfaces import SelectingControl


def own_control(config: Mapping[str, Any]) -> SelectingControl | None:
    """The run's own control where it chose tokens and is known here; of several the first."""
    from ..losses.interfaces import chooses_tokens
    from ..losses.settings import from_dict

    try:
        found = from_dict(config.get("control"))
    except EntropylabError:
        return None
    controls = found if isinstance(found, tuple) else (found,)
    return next((control for control in controls if chooses_tokens(control)), None)


def alternatives(control: SelectingControl, fraction: float) -> dict[str, SelectingControl]:
    """Words -> other control: those of the same fraction of the tokens, then the paper's settings.

    ``fraction``: what ``control`` chooses. What would choose by its rule and fraction is left out.
    """
    known = {(_rule(control), fraction)}
    found: dict[str, SelectingControl] = {}
    for words, other in (_of_fraction(control, fraction) | _of_paper()).items():
        choice = (_rule(other), other.budget.fraction or 0.0)
        if choice not in known:
            found[words] = other
        known.add(choice)
    return found


def _of_fraction(control: SelectingControl, fraction: float) -> dict[str, SelectingControl]:
    """The highest covariances, a draw from a band and one from all tokens; none outside (0, 1)."""
    from ..losses.controls.clip_cov import ClipCov
    from ..losses.controls.random_clip import RandomClip

    if not 0 < fraction < 1:
        return {}
    share = f"{100 * fraction:.3g} %"
    least, on = control.budget.minimum, control.covariance_on
    return {
        f"highest covariances, {share}": ClipCov(fraction, "top", covariance_on=on, minimum=least),
        f"covariances of 1 to 5, {share}": ClipCov(fraction, "band", covariance_on=on, minimum=least),
        f"random tokens, {share}": RandomClip(fraction, minimum=least),
    }


def _of_paper() -> dict[str, SelectingControl]:
    from ..losses.controls.clip_cov import ClipCov
    from ..losses.controls.kl_cov import KLCov

    return {"Clip-Cov, 0.02 % (paper)": ClipCov.paper(), "KL-Cov, 0.2 % (paper, 7B)": KLCov.paper("7B")}


def _rule(control: Any) -> tuple[Any, ...]:
    """Which tokens a control chooses, whatever their number."""
    from ..losses.controls.random_clip import RandomClip

    if isinstance(control, RandomClip):
        return ("random",)
    if getattr(control, "select", "top") == "band":
        return ("band", control.low, control.high, control.covariance_on)
    return ("highest", control.covariance_on)
