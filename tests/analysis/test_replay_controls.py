"""Which controls stand beside a run's own in a replay."""

from __future__ import annotations

import pytest

import entropylab as el
from entropylab.analysis.replay_controls import alternatives, own_control
from entropylab.analysis.replay_report import replay_beside
from entropylab.losses.settings import to_dict

PAPER = ["Clip-Cov, 0.02 % (paper)", "KL-Cov, 0.2 % (paper, 7B)"]


@pytest.mark.parametrize("control", [el.ClipCov.paper(), el.KLCov(count=4), el.RandomClip(0.1)])
def test_a_run_s_own_control_is_read_back(control):
    assert own_control({"control": to_dict(control)}) == control
    assert own_control({"control": to_dict([el.EntropyBonus(coef=0.1), control])}) == control


@pytest.mark.parametrize(
    "control", [None, "<b>", {"name": ["ClipCov"]}, {"name": "ClipCov", "fraction": "x"}, {"name": "new"}, 3]
)
def test_a_control_that_is_not_known_is_none(control):
    assert own_control({"control": control}) is None
    assert own_control({"control": to_dict(el.EntropyBonus(coef=0.1))}) is None


def test_alternatives_have_the_same_fraction_and_leave_out_the_control_itself():
    band, highest, drawn = (
        f"{words}, 5 %" for words in ("covariances of 1 to 5", "highest covariances", "random tokens")
    )
    assert list(alternatives(el.ClipCov(0.05), 0.05)) == [highest, drawn, *PAPER]
    assert list(alternatives(el.KLCov(0.05), 0.05)) == [band, drawn, *PAPER]
    assert list(alternatives(el.RandomClip(0.05), 0.05)) == [highest, band, *PAPER]
    found = alternatives(el.KLCov(0.05, covariance_on="old", minimum=0), 0.05)
    assert (found[band].fraction, found[band].covariance_on, found[band].minimum) == (0.05, "old", 0)


def test_what_chooses_alike_stands_once_and_a_fraction_of_all_has_no_peers():
    assert list(alternatives(el.ClipCov.paper(), 2e-4))[-1:] == PAPER[1:]
    assert PAPER[1] not in alternatives(el.ClipCov.top(2e-3), 2e-3)
    assert list(alternatives(el.KLCov(count=99), 1.0)) == PAPER


def test_controls_beside_each_other_choose_what_each_chooses_alone(make_run, tmp_path):
    run = make_run(tmp_path / "run", steps=3, prompts=8)
    controls = [el.KLCov(0.05), el.RandomClip(0.1), el.KLCov(0.02, covariance_on="old")]
    found = replay_beside(run, controls[0], controls[1:], micro_batches=(4,))
    for control, result in zip(controls, found, strict=True):
        alone = el.replay(run, control, micro_batches=(4,))
        assert result.updates.equals(alone.updates)
        assert (result.control, result.warnings) == (alone.control, alone.warnings)
    assert found[0].pieces.equals(el.replay(run, controls[0], micro_batches=(4,)).pieces)
    assert found[1].pieces.empty


@pytest.mark.parametrize("seed", ["<b>", [1], None])
def test_a_seed_that_is_no_number_draws_as_seed_0(seed, make_run, tmp_path):
    run = make_run(tmp_path / "run", steps=2, prompts=6, config={"seed": seed})
    drawn = el.replay(run, el.RandomClip(0.1), micro_batches=())
    assert drawn.updates.equals(el.replay(run, el.RandomClip(0.1), micro_batches=(), seed=0).updates)
