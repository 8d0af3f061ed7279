"""Names and defaults of other frameworks' loss settings, as read in their sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_CLIP = ("ratio_low", "ratio_high")
_USED: dict[str, tuple[str, ...]] = {
    "vanilla": (*_CLIP, "ratio"),
    "clip_cov": (*_CLIP, "ratio", "clip_fraction", "cov_low", "cov_high"),
    "kl_cov": ("kl_fraction", "kl_coef"),
    "gspo": (*_CLIP, "ratio"),
    "cispo": (*_CLIP, "ratio"),
}


@dataclass(frozen=True)
class Framework:
    """How a framework names what the losses take; the keys of all fields but ``modes`` are ours."""

    title: str
    names: Mapping[str, str]
    """Our name -> the framework's, the last parts of the dotted one."""
    defaults: Mapping[str, Any]
    modes: Mapping[str, str]
    """The framework's name of a loss -> ours."""
    percent: tuple[str, ...] = ()
    """Which fractions are given as percentages."""
    used: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _USED)
    """Loss -> the names that it reads."""

    def name_of(self, dotted: str) -> str | None:
        """Our name of a plain or dotted name; the longest that fits; None where none does."""
        fitting = [
            (len(theirs), ours)
            for ours, theirs in self.names.items()
            if dotted == theirs or dotted.endswith(f".{theirs}")
        ]
        return max(fitting)[1] if fitting else None


_VERL_NAMES = {
    "mode": "loss_mode",
    "ratio": "clip_ratio",
    "ratio_low": "clip_ratio_low",
    "ratio_high": "clip_ratio_high",
    "clip_fraction": "clip_cov_ratio",
    "cov_low": "clip_cov_lb",
    "cov_high": "clip_cov_ub",
    "kl_fraction": "kl_cov_ratio",
    "kl_coef": "ppo_kl_coef",
    "reduction": "loss_agg_mode",
}
_VERL_DEFAULTS = {
    "ratio": 0.2,
    "ratio_low": 0.2,
    "ratio_high": 0.2,
    "clip_fraction": 2e-4,
    "cov_low": 1.0,
    "cov_high": 5.0,
    "kl_fraction": 2e-4,
    "kl_coef": 0.1,
}
_MODES = {mode: mode for mode in ("vanilla", "clip_cov", "kl_cov", "gspo", "cispo")}

FRAMEWORKS: Mapping[str, Framework] = {
    "verl": Framework("verl", _VERL_NAMES, _VERL_DEFAULTS, _MODES),
    "skyrl": Framework(
        "SkyRL",
        {
            "mode": "policy_loss_type",
            "ratio_low": "eps_clip_low",
            "ratio_high": "eps_clip_high",
            "clip_fraction": "clip_cov.clip_ratio",
            "cov_low": "clip_cov_lb",
            "cov_high": "clip_cov_ub",
            "kl_fraction": "kl_cov_frac",
            "kl_coef": "ppo_kl_coef",
            "cispo_low": "cispo_eps_clip_low",
            "cispo_high": "cispo_eps_clip_high",
        },
        {
            "ratio_low": 0.2,
            "ratio_high": 0.2,
            "clip_fraction": 2e-4,
            "cov_low": 1.0,
            "cov_high": 5.0,
            "kl_fraction": 0.2,
            "kl_coef": 1.0,
            "cispo_low": 0.0,
            "cispo_high": 5.0,
        },
        {
            "regular": "vanilla",
            "dual_clip": "vanilla",
            "clip_cov": "clip_cov",
            "kl_cov": "kl_cov",
            "gspo": "gspo",
            "cispo": "cispo",
        },
        used={**_USED, "cispo": ("cispo_low", "cispo_high")},
    ),
    "authors": Framework(
        "the authors' scripts",
        {**_VERL_NAMES, "kl_fraction": "k_percent"},
        {**_VERL_DEFAULTS, "kl_fraction": 0.2, "kl_coef": 1.0},
        {mode: mode for mode in ("vanilla", "clip_cov", "kl_cov")},
        percent=("kl_fraction",),
    ),
}
"""Read from verl 0.9.1 (workers/config/actor.py), SkyRL a9564572 (train/config/config.py), and the scripts of
PRIME-RL/Entropy-Mechanism-of-RL 8850579 (recipe/dapo)."""
