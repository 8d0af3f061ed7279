"""Our losses beside verl's own, called through verl's registry: values and gradients."""

from __future__ import annotations

import math

import pytest

from entropylab.errors import InvalidInputError

torch = pytest.importorskip("torch")
MODES = ("token-mean", "token-sum", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm")
WHOLE = {"dp_size": 2, "batch_num_tokens": 700, "global_batch_size": 24, "loss_scale_factor": 128}
FAR = 1e9
"""Bound of verl's dual clip that no ratio reaches; it is no part of ours."""
ALL_CANDIDATES = {"clip_cov_ratio": 0.9, "clip_cov_lb": 0.3, "clip_cov_ub": 2.0}
"""clip_cov takes every token of the band: no draw, so both choose the same tokens."""
WIDE_BAND = {"clip_cov_ratio": 0.02, "clip_cov_lb": 0.1, "clip_cov_ub": 9.0}
"""A band that holds more than the budget, so that a draw decides."""
CASES = {
    "vanilla": {"clip_ratio_c": FAR, "clip_ratio_high": 0.28},
    "clip_cov": {**ALL_CANDIDATES, "clip_ratio_low": 1.0, "clip_ratio_high": 1.0},
    "kl_cov": {"kl_cov_ratio": 0.02, "ppo_kl_coef": 1.0},
    "gspo": {"clip_ratio_low": 3e-4, "clip_ratio_high": 4e-4},
    "cispo": {"clip_ratio_low": 0.2, "clip_ratio_high": 0.28},
}


def call(name, config, batch, mode="token-mean", weights=None):
    from verl.trainer.ppo.core_algos import get_policy_loss_fn

    leaf = batch["new"].clone().requires_grad_()
    loss, metrics = get_policy_loss_fn(name)(
        old_log_prob=batch["old"],
        log_prob=leaf,
        advantages=batch["advantages"],
        response_mask=batch["mask"],
        loss_agg_mode=mode,
        config=config,
        rollout_is_weights=weights,
    )
    loss.backward()
    return loss.detach(), leaf.grad, metrics


def assert_equal(ours, theirs):
    torch.testing.assert_close(ours[0].double(), theirs[0].double(), rtol=2e-6, atol=1e-7)
    scale = float(theirs[1].abs().max())
    torch.testing.assert_close(ours[1], theirs[1], rtol=2e-5, atol=2e-6 * scale)


@pytest.mark.parametrize("info", [{}, WHOLE], ids=["micro-batch counts", "whole counts on 2 ranks"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("loss", CASES)
def test_a_loss_equals_verls_own(verl, actor_config, make_batch, loss, mode, info):
    batch = make_batch()
    configs = [actor_config(loss, **CASES[loss]) for _ in range(2)]
    for config in configs:
        config.global_batch_info.update(info)
    theirs = call(loss, configs[0], batch, mode)
    ours = call(f"entropylab_{loss}", configs[1], batch, mode)
    assert_equal(ours, theirs)
    assert theirs[1].abs().sum() > 0


@pytest.mark.parametrize("rows", [2, 16])
@pytest.mark.parametrize("fraction", [2e-4, 2e-3])
def test_kl_cov_takes_the_same_tokens(verl, actor_config, make_batch, rows, fraction):
    batch = make_batch(rows=rows, length=200, seed=rows)
    config = actor_config("kl_cov", kl_cov_ratio=fraction, ppo_kl_coef=1.0)
    assert_equal(call("entropylab_kl_cov", config, batch), call("kl_cov", config, batch))


def test_clip_cov_equals_verls_on_the_tokens_that_verl_drew(verl, actor_config, make_batch):
    """Where the band holds more than the budget verl draws with randperm; its draw is handed to ours."""
    import entropylab as el
    from entropylab.losses.collective import Selection

    batch = make_batch(rows=8, length=64, seed=3)
    config = actor_config("clip_cov", clip_ratio_low=1.0, clip_ratio_high=2e4, **WIDE_BAND)
    theirs = call("clip_cov", config, batch)
    drawn = ((theirs[1] == 0) & batch["mask"]).nonzero()
    assert len(drawn) == math.floor(0.02 * int(batch["mask"].sum()))
    control = el.ClipCov(fraction=0.02, low=0.1, high=9.0)
    means = [batch[name][batch["mask"]].double().mean() for name in ("new", "advantages")]
    selection = Selection(
        control, drawn[:, 0], drawn[:, 1], torch.tensor(len(drawn)), *means, torch.tensor(0.1)
    )
    leaf = batch["new"].clone().requires_grad_()
    out = el.policy_loss(
        *(leaf, batch["old"], batch["advantages"], batch["mask"]),
        surrogate=el.PPOClip(low=1.0, high=2e4),
        control=control,
        selection=selection,
        sample_ids=torch.arange(8),
    )
    out.loss.backward()
    assert_equal((out.loss.detach(), leaf.grad), theirs)
    ours = call("entropylab_clip_cov", config, batch)
    assert int(((ours[1] == 0) & batch["mask"]).sum()) == len(drawn)


@pytest.mark.parametrize("loss", ["vanilla", "clip_cov", "cispo"])
def test_rollout_weights_act_as_verls(verl, actor_config, make_batch, loss):
    batch = make_batch(seed=5)
    weights = torch.rand(batch["old"].shape, generator=torch.Generator().manual_seed(1)) * 2
    config = actor_config(loss, **CASES[loss])
    ours = call(f"entropylab_{loss}", config, batch, weights=weights)
    assert_equal(ours, call(loss, config, batch, weights=weights))
    unweighted = call(f"entropylab_{loss}", config, batch)[2]
    assert ours[2]["entropylab/cov/mean"] == pytest.approx(unweighted["entropylab/cov/mean"])


@pytest.mark.parametrize("loss", ["kl_cov", "gspo"])
def test_rollout_weights_that_cannot_be_applied_are_refused(verl, actor_config, make_batch, loss):
    batch = make_batch()
    with pytest.raises(InvalidInputError, match="rollout_is=null"):
        call(f"entropylab_{loss}", actor_config(loss, **CASES[loss]), batch, weights=torch.ones(6, 40))


def test_every_name_gives_a_loss_a_gradient_and_plain_numbers(verl, actor_config, make_batch):
    from entropylab.trainers.verl.names import loss_names

    for name in loss_names():
        loss, gradient, metrics = call(name, actor_config(name), make_batch())
        assert torch.isfinite(loss)
        assert gradient.abs().sum() > 0
        assert all(isinstance(value, float) for value in metrics.values()), name
        assert {"actor/ppo_kl", "actor/pg_clipfrac", "entropylab/selected/count"} <= metrics.keys()


def test_the_draw_differs_between_calls(verl, actor_config, make_batch):
    batch = make_batch(rows=8, length=64, seed=3)
    config = actor_config("clip_cov", clip_ratio_high=9.0, **WIDE_BAND)
    first, second = (call("entropylab_clip_cov", config, batch)[1] for _ in range(2))
    assert not torch.equal(first == 0, second == 0)


def test_a_mini_batch_of_padding_alone_has_loss_0(verl, actor_config, make_batch):
    batch = make_batch()
    batch["mask"] = torch.zeros_like(batch["mask"])
    config = actor_config("kl_cov")
    config.global_batch_info.update(
        dp_size=1, batch_num_tokens=0, global_batch_size=6, loss_scale_factor=None
    )
    loss, gradient, _ = call("entropylab_kl_cov", config, batch)
    assert float(loss) == 0.0
    assert not gradient.any()
