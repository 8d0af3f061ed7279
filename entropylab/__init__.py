"""See and control policy entropy in reinforcement learning of language models.

Every public name is loaded when it is first used, so ``import entropylab`` costs next to nothing
and needs neither torch nor pandas.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC: dict[str, str] = {
    # errors
    "EntropylabError": "errors",
    # losses
    "METHODS": "losses.methods",
    "Method": "losses.methods",
    "REINFORCE": "losses.surrogates",
    "ImportanceSampling": "losses.surrogates",
    "PPOClip": "losses.surrogates",
    "ClipCov": "losses.controls.clip_cov",
    "KLCov": "losses.controls.kl_cov",
    "EntropyBonus": "losses.controls.entropy_bonus",
    "KLPenalty": "losses.controls.kl_penalty",
    "RandomClip": "losses.controls.random_clip",
    "FullKL": "losses.full_kl",
    "PolicyLoss": "losses.policy_loss",
    "policy_loss": "losses.policy_loss",
    "token_covariance": "losses.covariance",
    "Selection": "losses.collective",
    "select_tokens": "losses.collective",
    # recorder and reader
    "Recorder": "record.recorder",
    "TokenSampling": "record.token_sampling",
    "Run": "record.reader",
    "Problem": "record.reader",
    "open_run": "record.reader",
    "open_runs": "record.reader",
    # analysis
    "CurveFit": "analysis.curve",
    "fit_curve": "analysis.curve",
    "TailReport": "analysis.tails",
    "analyze_tails": "analysis.tails",
    "Attribution": "analysis.attribution",
    "attribute": "analysis.attribution",
    "Comparison": "analysis.comparison",
    "compare_runs": "analysis.comparison",
}

__all__ = ["__version__", *_PUBLIC]

if TYPE_CHECKING:
    from .analysis.attribution import Attribution as Attribution, attribute as attribute
    from .analysis.comparison import Comparison as Comparison, compare_runs as compare_runs
    from .analysis.curve import CurveFit as CurveFit, fit_curve as fit_curve
    from .analysis.tails import TailReport as TailReport, analyze_tails as analyze_tails
    from .errors import EntropylabError as EntropylabError
    from .losses.collective import Selection as Selection, select_tokens as select_tokens
    from .losses.controls.clip_cov import ClipCov as ClipCov
    from .losses.controls.entropy_bonus import EntropyBonus as EntropyBonus
    from .losses.controls.kl_cov import KLCov as KLCov
    from .losses.controls.kl_penalty import KLPenalty as KLPenalty
    from .losses.controls.random_clip import RandomClip as RandomClip
    from .losses.covariance import token_covariance as token_covariance
    from .losses.full_kl import FullKL as FullKL
    from .losses.methods import METHODS as METHODS, Method as Method
    from .losses.policy_loss import PolicyLoss as PolicyLoss, policy_loss as policy_loss
    from .losses.surrogates import (
        REINFORCE as REINFORCE,
        ImportanceSampling as ImportanceSampling,
        PPOClip as PPOClip,
    )
    from .record.reader import Problem as Problem, Run as Run, open_run as open_run, open_runs as open_runs
    from .record.recorder import Recorder as Recorder
    from .record.token_sampling import TokenSampling as TokenSampling


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'entropylab' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_PUBLIC[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
