"""The recipes beside the loss modules of the real packages; each is skipped where its package is missing."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
import typing
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:.*choose on a larger token set", "ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def _no_method(monkeypatch):
    monkeypatch.delenv("ENTROPYLAB_METHOD", raising=False)


def make_batch(rows=6, length=40):
    g = torch.Generator().manual_seed(2)
    old = -3 * torch.rand(rows, length, generator=g)
    new = old + 0.2 * torch.randn(rows, length, generator=g)
    advantages = (1.5 * torch.randn(rows, 1, generator=g)).expand(rows, length).contiguous()
    lengths = torch.randint(length // 2, length + 1, (rows, 1), generator=g)
    return new, old, advantages, (torch.arange(length) < lengths).float()


def gradient(loss_of, new):
    leaf = new.clone().requires_grad_()
    loss = loss_of(leaf)
    loss.backward()
    return loss.detach(), leaf.grad


def assert_same(ours, theirs):
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-5, atol=1e-8)


@pytest.fixture
def openrlhf_loss():
    """``openrlhf/models/loss.py`` without its package, whose other modules need flash-attn."""
    found = importlib.util.find_spec("openrlhf")
    if found is None:
        pytest.skip("openrlhf is not installed")
    pytest.importorskip("deepspeed")
    package = types.ModuleType("openrlhf_models_alone")
    package.__path__ = [str(Path(found.submodule_search_locations[0]) / "models")]
    sys.modules[package.__name__] = package
    return importlib.import_module("openrlhf_models_alone.loss").PolicyLoss


@pytest.mark.parametrize("token_level", [True, False])
@pytest.mark.parametrize("counts", [{}, {"dp_size": 2, "batch_num_tokens": 900.0, "global_batch_size": 24.0}])
def test_openrlhf(openrlhf_loss, monkeypatch, token_level, counts):
    from entropylab.trainers.recipes.openrlhf import PolicyLoss

    monkeypatch.setenv("ENTROPYLAB_METHOD", "clip_higher")
    new, old, advantages, mask = make_batch()
    given = {"token_level_loss": token_level, "is_correction_level": "off"}
    theirs_fn = openrlhf_loss(clip_eps_low=0.2, clip_eps_high=0.28, **given)
    ours_fn = PolicyLoss(clip_eps_low=0.2, clip_eps_high=0.28, **given)
    theirs = theirs_fn(new, old, advantages, action_mask=mask, **counts)
    ours = ours_fn(new, old, advantages, action_mask=mask, **counts)
    assert len(ours) == len(theirs)
    for mine, his in zip(ours[1:3], theirs[1:3], strict=True):
        torch.testing.assert_close(mine.float(), his, rtol=1e-5, atol=1e-6)
    assert_same(
        gradient(lambda leaf: ours_fn(leaf, old, advantages, action_mask=mask, **counts)[0], new),
        gradient(lambda leaf: theirs_fn(leaf, old, advantages, action_mask=mask, **counts)[0], new),
    )


@pytest.fixture(scope="module")
def skyrl():
    """SkyRL's module of losses; on Python 3.11 pydantic wants another TypedDict than SkyRL uses."""
    if importlib.util.find_spec("skyrl") is None:
        pytest.skip("skyrl is not installed")
    with pytest.MonkeyPatch.context() as patch:
        if sys.version_info < (3, 12):
            patch.setattr(typing, "TypedDict", importlib.import_module("typing_extensions").TypedDict)
        return importlib.import_module("skyrl.backends.skyrl_train.utils.ppo_utils")


def skyrl_config(**more):
    from entropylab.trainers.recipes.skyrl import REDUCTION

    names = ("tis_ratio_type", "sequence_mask_metric", "outlier_token_is_threshold_low")
    names += (
        "outlier_token_is_threshold_high",
        "token_mask_is_threshold_low",
        "token_mask_is_threshold_high",
    )
    off = SimpleNamespace(**dict.fromkeys(names))
    return SimpleNamespace(
        policy_loss_type="regular", eps_clip_low=0.2, eps_clip_high=0.28, loss_reduction=REDUCTION,
        off_policy_correction=off, **more,
    )  # fmt: skip


def test_skyrl_registers_and_equals_its_ppo(skyrl):
    from entropylab.trainers.recipes.skyrl import REDUCTION, advantage_scale, register

    scale = advantage_scale(6, 40)
    register("entropylab_clip_higher", "clip_higher", scale=scale)
    new, old, advantages, mask = make_batch()
    scaled = skyrl.apply_loss_reduction_to_advantages_minibatch(advantages, mask, REDUCTION, 2, 40)
    torch.testing.assert_close(scaled, advantages / scale)
    config = skyrl_config()
    ours_fn = skyrl.PolicyLossRegistry.get("entropylab_clip_higher")
    theirs_fn = skyrl.PolicyLossRegistry.get("regular")
    assert_same(
        gradient(lambda leaf: ours_fn(leaf, old, scaled, config=config, loss_mask=mask)[0], new),
        gradient(lambda leaf: theirs_fn(leaf, old, scaled, config=config, loss_mask=mask)[0], new),
    )


def test_skyrls_own_clip_cov_drops_nothing_and_its_penalty_is_not_divided(skyrl):
    """On advantages that are divided already: its band is empty, its penalty ``scale`` times too strong."""
    from entropylab.trainers.recipes.skyrl import advantage_scale, make_loss

    scale = advantage_scale(6, 40)
    new, old, advantages, mask = make_batch()
    clip = SimpleNamespace(clip_ratio=0.9, clip_cov_lb=0.5, clip_cov_ub=50.0)
    kl = SimpleNamespace(kl_cov_frac=2e-3, ppo_kl_coef=1.0)
    config = skyrl_config(clip_cov=clip, kl_cov=kl)
    clip_cov = skyrl.PolicyLossRegistry.get("clip_cov")
    assert clip_cov(new, old, advantages, config, mask)[1]["clip_ratio"] > 0.0
    assert clip_cov(new, old, advantages / scale, config, mask)[1]["clip_ratio"] == 0.0

    def slope_of_penalty(loss_fn, plain_fn):
        (_, with_penalty), (_, without) = gradient(loss_fn, new), gradient(plain_fn, new)
        return (with_penalty - without).abs().max()

    given = (old, advantages / scale, config, mask)
    plain = lambda leaf: -(leaf - old).exp().mul(given[1]).mul(mask).sum()  # noqa: E731
    theirs = slope_of_penalty(lambda x: skyrl.PolicyLossRegistry.get("kl_cov")(x, *given)[0], plain)
    ours = slope_of_penalty(lambda x: make_loss("kl_cov_7b", scale=scale)(x, *given)[0], plain)
    torch.testing.assert_close(theirs, ours * scale, rtol=1e-3, atol=0.0)


def test_prime_rl_takes_the_recipe_as_its_custom_loss():
    module = pytest.importorskip("prime_rl.trainer.rl.loss")
    from prime_rl.configs.trainer import CustomLossConfig

    path = "entropylab.trainers.recipes.prime_rl.loss"
    custom = module.setup_rl_loss_fn(CustomLossConfig(import_path=path, kwargs={"method": "clip_higher"}))
    new, old, advantages, mask = make_batch()
    rows = [values.unbind() for values in (new.requires_grad_(), old)]
    loss, metrics = module.compute_loss(
        trainer_logprobs=list(rows[0]), inference_logprobs=list(rows[1]), ref_logprobs=None,
        advantages=list(advantages.unbind()), loss_mask=list(mask.bool().unbind()), rl_weights=None,
        ce_weights=None, ref_kl_weights=None, rl_loss_fn=custom, rl_scale=int(mask.sum()), ce_scale=1,
        ref_kl_scale=1,
    )  # fmt: skip
    loss.backward()
    leaf = new.detach().clone().requires_grad_()
    import entropylab as el

    out = el.policy_loss(leaf, old, advantages, mask, surrogate=el.PPOClip(0.2, 0.28))
    out.loss.backward()
    torch.testing.assert_close(loss, out.loss)
    torch.testing.assert_close(new.grad, leaf.grad)
    assert metrics["entropylab/kl/k1"].shape == (6,)
