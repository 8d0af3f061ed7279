"""Names, settings and aggregation, without verl."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import entropylab as el
from entropylab.errors import InvalidInputError, MissingInputError, UnknownNameError
from entropylab.trainers.verl.aggregation import aggregation
from entropylab.trainers.verl.names import loss_names, loss_settings
from entropylab.trainers.verl.run_settings import run_settings
from entropylab.trainers.verl.validations import evaluations


def config(**given):
    policy_loss = {"clip_cov_ratio": 2e-4, "clip_cov_lb": 1.0, "clip_cov_ub": 5.0}
    policy_loss |= {"kl_cov_ratio": 2e-4, "ppo_kl_coef": 0.1}
    clip = {"clip_ratio": 0.2, "clip_ratio_low": 0.2, "clip_ratio_high": 0.2}
    own = {name: given.pop(name) for name in list(given) if name in policy_loss}
    return SimpleNamespace(**clip | given, policy_loss=SimpleNamespace(**policy_loss | own))


def test_clip_cov_and_kl_cov_read_verls_own_settings():
    clip = loss_settings("entropylab_clip_cov", config(clip_cov_ratio=1e-3, clip_ratio_low=1.0))
    assert clip.control == el.ClipCov(fraction=1e-3, low=1.0, high=5.0)
    assert clip.surrogate == el.PPOClip(low=1.0, high=0.2)
    kl = loss_settings("entropylab_kl_cov", config(kl_cov_ratio=2e-3, ppo_kl_coef=1.0))
    assert kl.control == el.KLCov.paper("7B")
    assert kl.surrogate == el.ImportanceSampling()


def test_a_missing_bound_is_clip_ratio_and_a_missing_strength_is_1_as_in_verl():
    found = loss_settings("entropylab_clip_cov", config(clip_ratio=0.4, clip_ratio_high=None))
    assert found.surrogate == el.PPOClip(low=0.2, high=0.4)
    assert loss_settings("entropylab_kl_cov", config(ppo_kl_coef=None)).control.beta == 1.0


def test_a_row_of_the_table_is_taken_as_it_stands():
    row = el.METHODS["clip_cov_top"]
    found = loss_settings("entropylab_clip_cov_top", config(clip_cov_ratio=0.5, clip_ratio_low=0.9))
    assert (found.surrogate, found.control) == (row.surrogate, row.control)


def test_only_methods_that_verls_signature_can_feed_are_offered():
    for name in loss_names():
        settings = loss_settings(name, config())
        assert not getattr(settings.control, "needs", ())
        assert settings.surrogate.scope != "batch"
        assert not hasattr(settings.control, "updated")
    missing = ("entropy_bonus", "kl_cov_targeted", "steer", "bapo", "kl_cov_target", "qae")
    assert not {f"entropylab_{key}" for key in missing} & set(loss_names())


def test_an_unknown_loss_and_a_percentage_are_refused():
    with pytest.raises(UnknownNameError, match="entropylab_clip_cov"):
        loss_settings("entropylab_cov", config())
    with pytest.raises(InvalidInputError, match="kl_cov_ratio"):
        loss_settings("entropylab_kl_cov", config(kl_cov_ratio=2))


def test_choosing_by_old_logprobs_changes_only_the_covariance():
    found = loss_settings("entropylab_clip_cov", config()).on_old_logprobs()
    assert found.control == el.ClipCov(covariance_on="old")
    random = loss_settings("entropylab_random_clip", config())
    assert random.on_old_logprobs() == random


def test_aggregation_divides_by_the_whole_mini_batch():
    info = {"dp_size": 4, "batch_num_tokens": 1000, "global_batch_size": 64, "loss_scale_factor": None}
    found = {mode: aggregation(mode, info, 40) for mode in ("token-mean", "token-sum", "seq-mean-token-mean")}
    assert [(a.reduction, a.denominator, a.factor) for a in found.values()] == [
        ("token_mean", 1000.0, 4.0),
        ("token_sum", 1.0, 4.0),
        ("seq_mean_token_mean", 64.0, 4.0),
    ]
    norm = aggregation("seq-mean-token-sum-norm", info, 40)
    assert (norm.reduction, norm.denominator, norm.factor) == ("seq_mean_token_sum", 64.0, 0.1)


def test_aggregation_refuses_other_modes_and_ranks_without_a_count():
    with pytest.raises(InvalidInputError, match="token-median"):
        aggregation("token-median", {}, 4)
    with pytest.raises(MissingInputError, match="batch_num_tokens"):
        aggregation("token-mean", {"dp_size": 2}, 4)


def test_a_key_that_does_not_exist_is_refused():
    omegaconf = pytest.importorskip("omegaconf")
    written = {
        "trainer": {"default_local_dir": "out"},
        "actor_rollout_ref": {"actor": {"policy_loss": {"loss_mode": "entropylab_clip_cov"}}},
    }
    found = run_settings(omegaconf.OmegaConf.create(written))
    assert (found.path, found.method) == ("out/entropylab", "entropylab_clip_cov")
    with pytest.raises(UnknownNameError, match="every_step is no setting"):
        run_settings(omegaconf.OmegaConf.create(written | {"entropylab": {"every_step": 2}}))
    with pytest.raises(InvalidInputError, match="choose_on"):
        run_settings(omegaconf.OmegaConf.create(written | {"entropylab": {"choose_on": "rank"}}))


def test_one_accuracy_is_kept_under_the_name_that_the_fit_looks_for():
    found = evaluations(
        {
            "val-core/openai/gsm8k/acc/mean@1": 0.4,
            "val-aux/openai/gsm8k/reward/mean@1": 0.1,
            "val-core/openai/gsm8k/acc/best@8/mean": float("nan"),
        }
    )
    assert found == {"openai/gsm8k/acc/mean@1": 0.4, "accuracy": 0.4}
    assert "accuracy" not in evaluations({"val-core/a/acc/mean@1": 0.4, "val-core/b/acc/mean@1": 0.2})


@pytest.mark.parametrize("mode", ["vanilla", "gspo"])
@pytest.mark.parametrize(
    "aggregation",
    ["token-mean", "token-sum", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"],
)
def test_a_translated_reduction_is_what_verl_computes(mode, aggregation):
    core_algos = pytest.importorskip("verl.trainer.ppo.core_algos")
    import torch
    from verl.workers.config import ActorConfig, PolicyLossConfig

    from entropylab import policy_loss, translate_settings

    g = torch.Generator().manual_seed(3)
    old = -torch.rand(6, 20, generator=g)
    logprobs = old + 0.01 * torch.randn(6, 20, generator=g)
    advantages = torch.randn(6, 1, generator=g).expand(6, 20).contiguous()
    mask = torch.arange(20) < torch.tensor([[20], [3], [9], [15], [20], [1]])
    loss_config = PolicyLossConfig(loss_mode=mode)
    config = ActorConfig(strategy="fsdp", rollout_n=8, use_dynamic_bsz=True, policy_loss=loss_config)
    theirs = core_algos.get_policy_loss_fn(mode)(
        old_log_prob=old,
        log_prob=logprobs,
        advantages=advantages,
        response_mask=mask.float(),
        loss_agg_mode=aggregation,
        config=config,
    )[0]
    done = translate_settings("verl", {"loss_mode": mode, "loss_agg_mode": aggregation})
    given = {"denominator": 1} if done.reduction == "token_sum" else {}
    ours = policy_loss(
        logprobs, old, advantages, mask, surrogate=done.surrogate, reduction=done.reduction, **given
    ).loss / (20 if aggregation.endswith("-norm") else 1)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)
