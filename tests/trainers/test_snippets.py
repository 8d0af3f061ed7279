"""A control as code is that control: evaluated, and read back from verl's settings."""

from __future__ import annotations

import pytest

import entropylab as el
from entropylab.losses.interfaces import chooses_tokens
from entropylab.losses.methods import METHODS
from entropylab.losses.translation import translate_settings
from entropylab.trainers.snippets import as_code, loop_snippet, trl_snippet, verl_settings, verl_snippet
from entropylab.trainers.verl.names import PREFIX, loss_settings

CHOOSING = {key: row.control for key, row in METHODS.items() if chooses_tokens(row.control)}
MORE = {"wide": el.ClipCov(0.01, low=0.5, high=9.0), "strong": el.KLCov(fraction=0.1, beta=2.0)}


@pytest.mark.parametrize("control", [*CHOOSING.values(), *MORE.values()], ids=[*CHOOSING, *MORE])
def test_code_is_the_control(control):
    assert eval(as_code(control), {"el": el}) == control
    assert as_code(control) in loop_snippet(control)
    assert as_code(control) in trl_snippet(control)


@pytest.mark.parametrize("control", [*CHOOSING.values(), *MORE.values()], ids=[*CHOOSING, *MORE])
def test_settings_of_verl_are_the_control(control):
    settings = verl_settings(control)
    if settings is None:
        assert verl_snippet(control).startswith("# verl")
        return
    name = settings["loss_mode"].removeprefix(PREFIX)
    if len(settings) == 1:
        assert loss_settings(settings["loss_mode"], {}).control == control
    else:
        assert translate_settings("verl", settings | {"loss_mode": name}).control == control
    assert f"actor_rollout_ref.actor.policy_loss.loss_mode={PREFIX}{name}" in verl_snippet(control)


def test_what_verl_cannot_say():
    assert verl_settings(el.ClipCov(0.02, select="top")) is None
    assert verl_settings(el.KLCov(fraction=0.02, divergence="k3")) is None
