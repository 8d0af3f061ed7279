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
    "GSPO": "losses.surrogates",
    "CISPO": "losses.surrogates",
    "GPPO": "losses.surrogates",
    "BAPO": "losses.surrogates",
    "ClipCov": "losses.controls.clip_cov",
    "KLCov": "losses.controls.kl_cov",
    "EntropyBonus": "losses.controls.entropy_bonus",
    "KLPenalty": "losses.controls.kl_penalty",
    "RandomClip": "losses.controls.random_clip",
    "AdaptiveEntropyBonus": "losses.controls.adaptive_entropy",
    "ForkingTokens": "losses.controls.forking_tokens",
    "EntropyAdvantage": "losses.controls.entropy_advantage",
    "STEER": "losses.controls.steer",
    "EntroPIC": "losses.controls.entropic",
    "SampleWeight": "losses.controls.sample_weight",
    "LpReg": "losses.controls.lp_reg",
    "QuantileBaseline": "losses.controls.quantile_baseline",
    "TargetClipCov": "losses.controls.target_clip_cov",
    "TargetKLCov": "losses.controls.target_kl_cov",
    "update_control": "losses.control_sequence",
    "Translation": "losses.translation",
    "translate_settings": "losses.translation",
    "Suggestion": "losses.suggestion",
    "suggest_settings": "losses.suggestion",
    "min_p_logprobs": "losses.min_p",
    "FullKL": "losses.heads.full_kl",
    "TokenStats": "losses.heads.statistics",
    "VocabShard": "losses.heads.vocab_shard",
    "fused_policy_loss": "losses.heads.fused_loss",
    "linear_logprob_entropy": "losses.heads.linear_op",
    "token_stats": "losses.heads.statistics",
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
    "Alert": "record.alerts",
    "open_run": "record.reader",
    "open_runs": "record.reader",
    # engines
    "AttributionScan": "engine.attribution_scan",
    "scan_attribution": "engine.attribution_scan",
    "RunSummary": "engine.run_summary",
    "summarize_run": "engine.run_summary",
    # influence
    "EntropyGradient": "influence.entropy_slope",
    "entropy_gradient": "influence.entropy_slope",
    "Influence": "influence.token_effects",
    "token_influence": "influence.token_effects",
    # trainers
    "attach": "trainers.attach",
    # analysis
    "CurveFit": "analysis.curve",
    "CurvePool": "analysis.curve_runs",
    "pool_curves": "analysis.curve_runs",
    "size_trend": "analysis.curve_runs",
    "share_noise": "analysis.curve_shared",
    "fit_curve": "analysis.curve",
    "Health": "analysis.health",
    "run_health": "analysis.health",
    "PowerLawFit": "analysis.power_law",
    "fit_power_law": "analysis.power_law",
    "Dynamics": "analysis.dynamics",
    "entropy_dynamics": "analysis.dynamics",
    "TailReport": "analysis.tails",
    "analyze_tails": "analysis.tails",
    "Attribution": "analysis.attribution",
    "attribute": "analysis.attribution",
    "ProxyAudit": "analysis.proxy_audit",
    "audit_proxies": "analysis.proxy_audit",
    "Replay": "analysis.replay_report",
    "replay": "analysis.replay_report",
    "Comparison": "analysis.comparison",
    "compare_runs": "analysis.comparison",
}

__all__ = ["__version__", *_PUBLIC]

if TYPE_CHECKING:
    from .analysis.attribution import Attribution as Attribution, attribute as attribute
    from .analysis.comparison import Comparison as Comparison, compare_runs as compare_runs
    from .analysis.curve import CurveFit as CurveFit, fit_curve as fit_curve
    from .analysis.curve_runs import (
        CurvePool as CurvePool,
        pool_curves as pool_curves,
        size_trend as size_trend,
    )
    from .analysis.curve_shared import share_noise as share_noise
    from .analysis.dynamics import Dynamics as Dynamics, entropy_dynamics as entropy_dynamics
    from .analysis.health import Health as Health, run_health as run_health
    from .analysis.power_law import PowerLawFit as PowerLawFit, fit_power_law as fit_power_law
    from .analysis.proxy_audit import ProxyAudit as ProxyAudit, audit_proxies as audit_proxies
    from .analysis.replay_report import Replay as Replay, replay as replay
    from .analysis.tails import TailReport as TailReport, analyze_tails as analyze_tails
    from .engine.attribution_scan import (
        AttributionScan as AttributionScan,
        scan_attribution as scan_attribution,
    )
    from .engine.run_summary import RunSummary as RunSummary, summarize_run as summarize_run
    from .errors import EntropylabError as EntropylabError
    from .influence.entropy_slope import (
        EntropyGradient as EntropyGradient,
        entropy_gradient as entropy_gradient,
    )
    from .influence.token_effects import Influence as Influence, token_influence as token_influence
    from .losses.collective import Selection as Selection, select_tokens as select_tokens
    from .losses.control_sequence import update_control as update_control
    from .losses.controls.adaptive_entropy import AdaptiveEntropyBonus as AdaptiveEntropyBonus
    from .losses.controls.clip_cov import ClipCov as ClipCov
    from .losses.controls.entropic import EntroPIC as EntroPIC
    from .losses.controls.entropy_advantage import EntropyAdvantage as EntropyAdvantage
    from .losses.controls.entropy_bonus import EntropyBonus as EntropyBonus
    from .losses.controls.forking_tokens import ForkingTokens as ForkingTokens
    from .losses.controls.kl_cov import KLCov as KLCov
    from .losses.controls.kl_penalty import KLPenalty as KLPenalty
    from .losses.controls.lp_reg import LpReg as LpReg
    from .losses.controls.quantile_baseline import QuantileBaseline as QuantileBaseline
    from .losses.controls.random_clip import RandomClip as RandomClip
    from .losses.controls.sample_weight import SampleWeight as SampleWeight
    from .losses.controls.steer import STEER as STEER
    from .losses.controls.target_clip_cov import TargetClipCov as TargetClipCov
    from .losses.controls.target_kl_cov import TargetKLCov as TargetKLCov
    from .losses.covariance import token_covariance as token_covariance
    from .losses.heads.full_kl import FullKL as FullKL
    from .losses.heads.fused_loss import fused_policy_loss as fused_policy_loss
    from .losses.heads.linear_op import linear_logprob_entropy as linear_logprob_entropy
    from .losses.heads.statistics import TokenStats as TokenStats, token_stats as token_stats
    from .losses.heads.vocab_shard import VocabShard as VocabShard
    from .losses.methods import METHODS as METHODS, Method as Method
    from .losses.min_p import min_p_logprobs as min_p_logprobs
    from .losses.policy_loss import PolicyLoss as PolicyLoss, policy_loss as policy_loss
    from .losses.suggestion import Suggestion as Suggestion, suggest_settings as suggest_settings
    from .losses.surrogates import (
        BAPO as BAPO,
        CISPO as CISPO,
        GPPO as GPPO,
        GSPO as GSPO,
        REINFORCE as REINFORCE,
        ImportanceSampling as ImportanceSampling,
        PPOClip as PPOClip,
    )
    from .losses.translation import Translation as Translation, translate_settings as translate_settings
    from .record.alerts import Alert as Alert
    from .record.reader import Problem as Problem, Run as Run, open_run as open_run, open_runs as open_runs
    from .record.recorder import Recorder as Recorder
    from .record.token_sampling import TokenSampling as TokenSampling
    from .trainers.attach import attach as attach


if not TYPE_CHECKING:  # so that a type checker reports a name that does not exist

    def __getattr__(name: str) -> Any:
        if name not in _PUBLIC:
            raise AttributeError(f"module 'entropylab' has no attribute {name!r}")
        value = getattr(importlib.import_module(f".{_PUBLIC[name]}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
