"""Settings of other frameworks say the same in our names, and their traps are told."""

from __future__ import annotations

import re

import pytest

from entropylab.errors import InvalidInputError, UnknownNameError
from entropylab.losses.controls.clip_cov import ClipCov
from entropylab.losses.controls.kl_cov import KLCov
from entropylab.losses.methods import METHODS
from entropylab.losses.surrogates import CISPO, GSPO, ImportanceSampling, PPOClip
from entropylab.losses.translation import translate_settings

RECIPE_CLIP_COV = {
    "actor_rollout_ref.actor.clip_ratio_low": 1,
    "actor_rollout_ref.actor.clip_ratio_high": 1,
    "actor_rollout_ref.actor.policy_loss.loss_mode": "clip_cov",
    "actor_rollout_ref.actor.policy_loss.clip_cov_ratio": 0.0002,
    "actor_rollout_ref.actor.policy_loss.clip_cov_lb": 1.0,
    "actor_rollout_ref.actor.policy_loss.clip_cov_ub": 5.0,
    "actor_rollout_ref.actor.policy_loss.kl_cov_ratio": 0.2,
}
"""As verl-recipe's entropy/7b_clip_cov.sh sets them, the idle kl_cov_ratio included."""


@pytest.mark.parametrize(
    ("framework", "settings", "key"),
    [
        ("verl", RECIPE_CLIP_COV, "clip_cov"),
        ("verl", {"loss_mode": "kl_cov", "kl_cov_ratio": 0.002, "ppo_kl_coef": 1}, "kl_cov_7b"),
        ("verl", {"loss_mode": "kl_cov", "kl_cov_ratio": 0.0002, "ppo_kl_coef": 1}, "kl_cov_32b"),
        ("verl", {"loss_mode": "clip_cov"}, "verl_clip_cov"),
        ("verl", {"loss_mode": "kl_cov"}, "verl_kl_cov"),
        ("verl", {"loss_mode": "vanilla"}, "grpo"),
        ("verl", {"clip_ratio_high": 0.28}, "clip_higher"),
        ("verl", {"loss_mode": "gspo", "clip_ratio_low": 3e-4, "clip_ratio_high": 4e-4}, "gspo"),
        ("verl", {"loss_mode": "cispo", "clip_ratio_low": 10, "clip_ratio_high": 0.2}, "cispo"),
        ("authors", {"loss_mode": "kl_cov", "k_percent": 0.2, "ppo_kl_coef": 1}, "kl_cov_7b"),
        ("authors", {"loss_mode": "kl_cov", "k_percent": 0.02}, "kl_cov_32b"),
        ("authors", {"loss_mode": "clip_cov", "clip_ratio_low": 1, "clip_ratio_high": 1}, "clip_cov"),
        ("skyrl", {"policy_loss_type": "kl_cov"}, "skyrl_kl_cov"),
    ],
)
def test_the_rows_of_the_wild(framework, settings, key):
    done, row = translate_settings(framework, settings), METHODS[key]
    assert done.surrogate == row.surrogate
    assert done.control == row.control
    assert done.framework == framework


@pytest.mark.parametrize(
    ("settings", "surrogate", "control"),
    [
        ({}, PPOClip(), None),
        ({"clip_cov_lb": 2.0}, PPOClip(), ClipCov(low=2.0)),
        ({"ppo_kl_coef": 3.0}, ImportanceSampling(), KLCov(fraction=2e-4, beta=3.0)),
        (
            {"actor": {"policy_loss": {"loss_mode": "clip_cov", "clip_cov_ub": 9}}},
            PPOClip(),
            ClipCov(high=9.0),
        ),
        ({"+actor.policy_loss.kl_cov_ratio": 0.01}, ImportanceSampling(), KLCov(fraction=0.01, beta=0.1)),
        ({"clip_ratio": 0.3}, PPOClip(0.2, 0.2), None),
        ({"clip_ratio": 0.3, "clip_ratio_low": None, "clip_ratio_high": None}, PPOClip(0.3, 0.3), None),
        ({"clip_ratio": 0.3, "clip_ratio_low": None}, PPOClip(0.3, 0.2), None),
        ({"clip_cov_ratio": None, "loss_mode": "clip_cov"}, PPOClip(), ClipCov()),
    ],
)
def test_verl_names_and_defaults(settings, surrogate, control):
    done = translate_settings("verl", settings)
    assert (done.surrogate, done.control) == (surrogate, control)


def test_skyrl_clip_ratio_within_clip_cov_is_a_fraction_of_the_tokens():
    nested = {"trainer": {"algorithm": {"policy_loss_type": "clip_cov", "clip_cov": {"clip_ratio": 0.001}}}}
    assert translate_settings("skyrl", nested).control == ClipCov(fraction=0.001)
    with pytest.raises(UnknownNameError, match="SkyRL setting 'clip_ratio' is not translated"):
        translate_settings("skyrl", {"clip_ratio": 0.2})


@pytest.mark.parametrize(
    ("framework", "settings", "note"),
    [
        ("authors", {"k_percent": 0.2}, "k_percent is a percentage: 0.002 of all tokens"),
        ("skyrl", {"kl_cov_frac": 0.2}, "0.2 of all tokens; the published fractions are 2e-4 and 2e-3"),
        ("verl", {"kl_cov_ratio": 0.2}, "If a percentage was meant, divide it by 100"),
        ("verl", {"loss_mode": "kl_cov"}, "ppo_kl_coef=0.1: the authors' scripts use 1"),
        ("verl", {"loss_mode": "kl_cov", "clip_ratio_low": 0.2}, "without effect .* clip_ratio_low"),
        ("verl", {"clip_ratio": 0.3}, "without effect .* clip_ratio$"),
        ("verl", RECIPE_CLIP_COV, "without effect .* kl_cov_ratio"),
        ("verl", {"loss_mode": "clip_cov"}, r"the authors' scripts pair Clip-Cov with \(1, 1\)"),
        ("verl", {"loss_mode": "clip_cov"}, "not given, so the defaults of verl: .*clip_cov_ratio=0.0002"),
        ("verl", {"loss_mode": "gspo"}, r"hardly acts on a mean ratio; the paper's is \(3e-4, 4e-4\)"),
        ("verl", {}, "dual clip"),
    ],
)
def test_traps_are_told(framework, settings, note):
    notes = translate_settings(framework, settings).notes
    assert sum(bool(re.search(note, one)) for one in notes) == 1, notes


def test_reductions():
    assert translate_settings("verl", {}).reduction is None
    assert translate_settings("verl", {"loss_agg_mode": "token-mean"}).reduction == "token_mean"
    assert (
        translate_settings("verl", {"loss_agg_mode": "seq-mean-token-sum"}).reduction == "seq_mean_token_sum"
    )
    norm = translate_settings("verl", {"loss_agg_mode": "seq-mean-token-sum-norm"})
    assert norm.reduction == "seq_mean_token_sum"
    assert any("loss_scale_factor" in note for note in norm.notes)
    total = translate_settings("verl", {"loss_agg_mode": "token-sum"})
    assert total.reduction == "token_sum"
    assert any("denominator=1" in note for note in total.notes)
    assert translate_settings("verl", {"loss_mode": "gspo"}).reduction == "seq_mean_token_mean"
    gspo = translate_settings("verl", {"loss_mode": "gspo", "loss_agg_mode": "token-mean"})
    assert gspo.reduction == "token_mean", "verl's gspo follows loss_agg_mode"
    assert any("mean over responses" in note for note in gspo.notes)
    assert translate_settings("skyrl", {"policy_loss_type": "gspo"}).surrogate == GSPO(0.2, 0.2)
    assert translate_settings("verl", {"loss_mode": "cispo"}).surrogate == CISPO(0.2, 0.2)


@pytest.mark.parametrize(
    ("framework", "settings", "error", "message"),
    [
        ("trl", {}, UnknownNameError, "unknown framework 'trl'; known: verl, skyrl, authors"),
        ("verl", {"kl_cov_frac": 0.2}, UnknownNameError, "verl setting 'kl_cov_frac' is not .*kl_cov_ratio"),
        ("verl", {"k_percent": 0.2}, UnknownNameError, "verl setting 'k_percent' is not translated"),
        ("verl", {"kl_cov_ratio": 20}, InvalidInputError, r"kl_cov_ratio=20 is not a fraction in \(0, 1\)"),
        ("verl", {"clip_cov_ratio": "2e-4"}, InvalidInputError, "clip_cov_ratio='2e-4' is not a number"),
        ("verl", {"kl_cov_ratio": True}, InvalidInputError, "kl_cov_ratio=True is not a number"),
        (
            "authors",
            {"k_percent": 100},
            InvalidInputError,
            r"k_percent=100 is not a percentage in \(0, 100\)",
        ),
        ("authors", {"k_percent": 0}, InvalidInputError, "k_percent=0 is not a percentage"),
        ("skyrl", {"kl_cov_frac": float("nan")}, InvalidInputError, "kl_cov_frac=nan is not a fraction"),
        ("verl", {"clip_cov_lb": 1, "kl_cov_ratio": 0.1}, InvalidInputError, "name the loss with loss_mode"),
        ("verl", {"loss_mode": "geo_mean"}, InvalidInputError, "loss_mode='geo_mean' is not translated"),
        ("verl", {"a.clip_cov_lb": 1, "b.clip_cov_lb": 2}, InvalidInputError, "given as 1 and 2"),
        ("verl", {"clip_cov_lb": 6.0}, InvalidInputError, "low=6.0 is not below high=5.0"),
        ("verl", {"clip_cov_lb": "x"}, InvalidInputError, "clip_cov_lb='x' is not a finite number"),
        ("verl", {"clip_ratio_low": -0.1}, InvalidInputError, "clip_ratio_low=-0.1 is below 0"),
        ("verl", {"ppo_kl_coef": None, "kl_cov_ratio": 1.0}, InvalidInputError, "kl_cov_ratio=1.0 is not"),
        (
            "verl",
            {"loss_agg_mode": "median"},
            InvalidInputError,
            "loss_agg_mode=.* is unknown",
        ),
    ],
)
def test_bad_input_is_named(framework, settings, error, message):
    with pytest.raises(error, match=message):
        translate_settings(framework, settings)


def test_cispo_of_skyrl_has_bounds_of_its_own():
    done = translate_settings("skyrl", {"policy_loss_type": "cispo", "eps_clip_low": 0.2})
    assert done.surrogate == CISPO(0.0, 5.0)
    assert any("cispo_eps_clip_low=0 lifts every ratio below 1 to 1" in note for note in done.notes)
    assert any("left out here: eps_clip_low" in note for note in done.notes)
    nested = {"cispo": {"cispo_eps_clip_low": 7, "cispo_eps_clip_high": 0.5}}
    assert translate_settings("skyrl", nested).surrogate == CISPO(1.0, 0.5)
    with pytest.raises(InvalidInputError, match="cispo_eps_clip_high=-1"):
        translate_settings("skyrl", {"policy_loss_type": "cispo", "cispo_eps_clip_high": -1})
