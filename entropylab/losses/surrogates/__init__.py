"""Policy-gradient surrogates. r = π/π_old of the sampled token, A the advantage, l = log π.

Free of torch when imported.
"""

from __future__ import annotations

from .bapo import BAPO
from .basic import DEFAULT_SURROGATE, REINFORCE, ImportanceSampling, PPOClip
from .cispo import CISPO
from .gppo import GPPO
from .gspo import GSPO

__all__ = [
    "BAPO",
    "CISPO",
    "DEFAULT_SURROGATE",
    "GPPO",
    "GSPO",
    "REINFORCE",
    "ImportanceSampling",
    "PPOClip",
]
