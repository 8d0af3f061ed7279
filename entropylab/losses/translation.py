"""Settings of other frameworks in our names, with the traps between them. Free of torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidInputError, UnknownNameError
from .controls.clip_cov import ClipCov
from .controls.kl_cov import KLCov
from .setting_checks import require_choice, require_number
from .surrogates import CISPO, GSPO, ImportanceSampling, PPOClip
from .translation_keys import FRAMEWORKS, Framework

_REDUCTIONS = {
    "token-mean": ("token_mean", None),
    "token-sum": ("token_sum", "token-sum divides by nothing: give policy_loss denominator=1"),
    "seq-mean-token-mean": ("seq_mean_token_mean", None),
    "seq-mean-token-sum": ("seq_mean_token_sum", None),
    "seq-mean-token-sum-norm": (
        "seq_mean_token_sum",
        "seq-mean-token-sum-norm also divides by loss_scale_factor, the padded response length where that is "
        "not set: multiply the loss by 1 over it",
    ),
}
"""Ours, and what is left to the caller."""
_MANY = 0.02


@dataclass(frozen=True)
class Translation:
    """What ``policy_loss`` takes to do as another framework's settings say."""

    framework: str
    surrogate: Any
    control: Any
    reduction: str | None
    """None where the settings did not name one."""
    notes: tuple[str, ...]
    """What the names do not say: percentages, defaults that were filled in, parts that are left out."""


def translate_settings(framework: str, settings: Mapping[str, Any]) -> Translation:
    """Surrogate, control and reduction that equal the settings of another framework.

    ``verl`` (0.9; also verl-recipe): ``loss_mode``, ``clip_ratio`` (only where ``clip_ratio_low`` or
    ``clip_ratio_high`` is set to None; they are 0.2 by default), ``clip_ratio_low``, ``clip_ratio_high``,
    ``clip_cov_ratio``, ``clip_cov_lb``, ``clip_cov_ub``, ``kl_cov_ratio``, ``ppo_kl_coef``,
    ``loss_agg_mode``.
    ``skyrl``: ``policy_loss_type``, ``eps_clip_low``, ``eps_clip_high``, ``clip_cov.clip_ratio`` (a fraction
    of the tokens, not a ratio clip), ``clip_cov_lb``, ``clip_cov_ub``, ``kl_cov_frac``, ``ppo_kl_coef``.
    ``authors`` (the scripts of arXiv 2505.22617): verl's names, with ``k_percent`` in PERCENT in place of
    ``kl_cov_ratio``. Names may be dotted, or mappings nested, as in the framework's own files. What is not
    given takes the framework's default. The loss follows from ``loss_mode`` or from the names given.

    Raises:
        UnknownNameError: a framework or a name that is not known.
        InvalidInputError: a value out of range, two values of one name, or names of two losses and no mode.
    """
    if framework not in FRAMEWORKS:
        raise UnknownNameError(f"unknown framework {framework!r}; known: {', '.join(FRAMEWORKS)}")
    spoken = FRAMEWORKS[framework]
    given = _flat(settings, spoken)
    mode = _mode(given, spoken)
    values = {**spoken.defaults, **given}
    surrogate, control, notes = _LOSSES[mode](values, spoken)
    reduction, left = _reduction(values, mode, spoken)
    notes = (*notes, *left, *_filled_or_unused(given, values, mode, spoken))
    return Translation(framework, surrogate, control, reduction, notes)


def _filled_or_unused(
    given: Mapping[str, Any], values: Mapping[str, Any], mode: str, spoken: Framework
) -> list[str]:
    """Notes on defaults that were filled in and on settings that play no part."""
    used = set(spoken.used[mode])
    if "ratio_low" in used:
        needed = None in (values.get("ratio_low"), values.get("ratio_high"))
        used = used | {"ratio"} if needed else used - {"ratio"}
    filled = [name for name in spoken.defaults if name in used and name not in given]
    unused = [name for name in given if name not in used | {"mode", "reduction"}]
    notes = []
    if filled:
        stated = ", ".join(f"{spoken.names[name]}={spoken.defaults[name]!r}" for name in filled)
        notes.append(f"not given, so the defaults of {spoken.title}: {stated}")
    if unused:
        named = ", ".join(spoken.names[name] for name in unused)
        notes.append(f"without effect with {mode} there, so left out here: {named}")
    return notes


def _flat(settings: Mapping[str, Any], spoken: Framework) -> dict[str, Any]:
    """Our name -> value, of plain, dotted or nested names."""
    found: dict[str, Any] = {}
    for dotted, value in _leaves(settings):
        name = spoken.name_of(dotted)
        if name is None:
            known = ", ".join(spoken.names.values())
            raise UnknownNameError(f"{spoken.title} setting {dotted!r} is not translated; known: {known}")
        if name in found and found[name] != value:
            raise InvalidInputError(
                f"{spoken.title}: {spoken.names[name]} is given as {found[name]!r} and {value!r}"
            )
        if value is not None or name in ("ratio_low", "ratio_high"):
            found[name] = value
    return found


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    leaves: list[tuple[str, Any]] = []
    for name, value in settings.items():
        dotted = f"{prefix}{name}".lstrip("+")
        leaves += _leaves(value, f"{dotted}.") if isinstance(value, Mapping) else [(dotted, value)]
    return leaves


def _mode(given: Mapping[str, Any], spoken: Framework) -> str:
    """The loss: as named, else the one whose own settings are given."""
    if "mode" in given:
        named = spoken.modes.get(str(given["mode"]))
        if named is None:
            known = ", ".join(spoken.modes)
            raise InvalidInputError(
                f"{spoken.title}: {spoken.names['mode']}={given['mode']!r} is not translated; known: {known}"
            )
        return named
    hinted = [mode for mode, names in _OWN.items() if any(name in given for name in names)]
    if len(hinted) > 1:
        raise InvalidInputError(
            f"{spoken.title}: settings of {' and '.join(hinted)} are given; name the loss with "
            f"{spoken.names['mode']}"
        )
    return hinted[0] if hinted else "vanilla"


_OWN = {
    "clip_cov": ("clip_fraction", "cov_low", "cov_high"),
    "kl_cov": ("kl_fraction", "kl_coef"),
    "cispo": ("cispo_low", "cispo_high"),
}


def _clip(values: Mapping[str, Any], spoken: Framework) -> tuple[float, float]:
    """Both bounds of the ratio clip; a lower one above 1 bounds nothing, as 1 does."""
    sides = []
    for side in ("low", "high"):
        name = "ratio" if values.get(f"ratio_{side}") is None and "ratio" in values else f"ratio_{side}"
        require_number(spoken.title, spoken.names[name], values[name], least=0.0)
        sides.append(float(values[name]))
    return min(sides[0], 1.0), sides[1]


def _fraction(values: Mapping[str, Any], name: str, spoken: Framework) -> float:
    """A fraction of the tokens in (0, 1), from a fraction or a percentage."""
    title = f"{spoken.title}: {spoken.names[name]}"
    value = values[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidInputError(f"{title}={value!r} is not a number")
    whole = 100.0 if name in spoken.percent else 1.0
    if not 0.0 < value < whole:
        unit = "a percentage in (0, 100)" if whole == 100.0 else "a fraction in (0, 1)"
        raise InvalidInputError(f"{title}={value!r} is not {unit}")
    return value / whole


def _size_note(fraction: float, name: str, spoken: Framework) -> tuple[str, ...]:
    if fraction < _MANY:
        return ()
    return (
        f"{spoken.names[name]} is {fraction:.3g} of all tokens; the published fractions are 2e-4 and 2e-3. "
        "If a percentage was meant, divide it by 100",
    )


def _vanilla(values: Mapping[str, Any], spoken: Framework) -> tuple[Any, Any, tuple[str, ...]]:
    low, high = _clip(values, spoken)
    return PPOClip(low, high), None, ("its dual clip of losses with A < 0 is left out",)


def _clip_cov(values: Mapping[str, Any], spoken: Framework) -> tuple[Any, Any, tuple[str, ...]]:
    low, high = _clip(values, spoken)
    fraction = _fraction(values, "clip_fraction", spoken)
    for name in ("cov_low", "cov_high"):
        require_number(spoken.title, spoken.names[name], values[name])
    control = ClipCov(fraction=fraction, low=float(values["cov_low"]), high=float(values["cov_high"]))
    notes = _size_note(fraction, "clip_fraction", spoken)
    if (low, high) != (1.0, 1.0):
        notes = (*notes, f"ratio clip ({low:g}, {high:g}): the authors' scripts pair Clip-Cov with (1, 1)")
    drawn = "the draw is by a hash of (seed, step, token) here, by the global generator there"
    return PPOClip(low, high), control, (*notes, drawn)


def _kl_cov(values: Mapping[str, Any], spoken: Framework) -> tuple[Any, Any, tuple[str, ...]]:
    require_number(spoken.title, spoken.names["kl_coef"], values["kl_coef"])
    fraction, beta = _fraction(values, "kl_fraction", spoken), float(values["kl_coef"])
    notes = ["its loss has no ratio clip, whatever clip settings say"]
    if "kl_fraction" in spoken.percent:
        notes.append(f"{spoken.names['kl_fraction']} is a percentage: {fraction:g} of all tokens")
    if beta != 1.0:
        notes.append(f"{spoken.names['kl_coef']}={beta:g}: the authors' scripts use 1")
    notes += _size_note(fraction, "kl_fraction", spoken)
    return ImportanceSampling(), KLCov(fraction=fraction, beta=beta), tuple(notes)


def _gspo(values: Mapping[str, Any], spoken: Framework) -> tuple[Any, Any, tuple[str, ...]]:
    low, high = _clip(values, spoken)
    notes: tuple[str, ...] = ()
    if low >= 0.1:
        notes = (f"ratio clip ({low:g}, {high:g}) hardly acts on a mean ratio; the paper's is (3e-4, 4e-4)",)
    return GSPO(low, high), None, notes


def _cispo(values: Mapping[str, Any], spoken: Framework) -> tuple[Any, Any, tuple[str, ...]]:
    if "cispo_low" not in spoken.names:
        low, high = _clip(values, spoken)
        return CISPO(low, high), None, ()
    for name in ("cispo_low", "cispo_high"):
        require_number(spoken.title, spoken.names[name], values[name], least=0.0)
    low, high = min(float(values["cispo_low"]), 1.0), float(values["cispo_high"])
    if low > 0.0:
        return CISPO(low, high), None, ()
    note = f"{spoken.names['cispo_low']}=0 lifts every ratio below 1 to 1; for no lower bound give 1"
    return CISPO(low, high), None, (note,)


def _reduction(values: Mapping[str, Any], mode: str, spoken: Framework) -> tuple[str | None, tuple[str, ...]]:
    """Our reduction, and notes on it; that of arXiv 2507.18071 for GSPO where none is named."""
    if "reduction" not in values:
        return ("seq_mean_token_mean" if mode == "gspo" else None), ()
    name, given = spoken.names["reduction"], values["reduction"]
    require_choice(spoken.title, name, given, tuple(_REDUCTIONS))
    ours, left = _REDUCTIONS[given]
    notes = () if left is None else (left,)
    if mode == "gspo" and ours != "seq_mean_token_mean":
        notes = (*notes, f"{name}={given} with gspo: the paper's loss is the mean over responses")
    return ours, notes


_LOSSES: dict[str, Callable[[Mapping[str, Any], Framework], tuple[Any, Any, tuple[str, ...]]]] = {
    "vanilla": _vanilla,
    "clip_cov": _clip_cov,
    "kl_cov": _kl_cov,
    "gspo": _gspo,
    "cispo": _cispo,
}
