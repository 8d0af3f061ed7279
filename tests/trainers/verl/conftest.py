"""Real objects of verl for the tests; every test that asks for one is skipped where verl is not installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="session")
def verl() -> Any:
    """verl with the plug-in loaded as verl loads it, from the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VERL_USE_EXTERNAL_MODULES", "entropylab.trainers.verl")
        return pytest.importorskip("verl")


@pytest.fixture
def actor_config(verl: Any) -> Callable[..., Any]:
    """A real ActorConfig: ``actor_config("clip_cov", clip_cov_ratio=0.5, clip_ratio_low=1.0)``."""
    from verl.workers.config import ActorConfig, PolicyLossConfig

    def make(loss_mode: str, **settings: Any) -> ActorConfig:
        own = {name: settings.pop(name) for name in list(settings) if hasattr(PolicyLossConfig, name)}
        defaults = {"strategy": "fsdp", "rollout_n": 8, "use_dynamic_bsz": True}
        return ActorConfig(**defaults | settings, policy_loss=PolicyLossConfig(loss_mode=loss_mode, **own))

    return make


@pytest.fixture
def make_batch() -> Callable[..., dict[str, Any]]:
    """Random old logprobs, current logprobs, advantages and mask [B, T] of fp32, as verl holds them."""
    torch = pytest.importorskip("torch")

    def make(rows: int = 6, length: int = 40, seed: int = 0, drift: float = 0.3) -> dict[str, Any]:
        g = torch.Generator().manual_seed(seed)
        old = -torch.rand(rows, length, generator=g) * 3
        lengths = torch.randint(length // 2, length + 1, (rows, 1), generator=g)
        return {
            "old": old,
            "new": old + drift * torch.randn(rows, length, generator=g),
            "advantages": (1.5 * torch.randn(rows, 1, generator=g)).expand(rows, length).contiguous(),
            "mask": torch.arange(length) < lengths,
        }

    return make
