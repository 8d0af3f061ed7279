"""A program of a user, read by type checkers and never run: the public names have types, none is Any."""

from __future__ import annotations

from typing import assert_type

import pandas as pd
import torch

import entropylab as el
from entropylab.losses.methods import Method


def train(logprobs: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """One step of a loop: a loss with a control, recorded."""
    control = el.ClipCov.paper()
    assert_type(control, el.ClipCov)
    assert_type(el.KLCov.paper("7B"), el.KLCov)
    assert_type(el.METHODS["grpo"], Method)
    out = el.policy_loss(logprobs, logprobs.detach(), advantages, mask, control=control)
    assert_type(out, el.PolicyLoss)
    assert_type(out.loss, torch.Tensor)
    assert_type(out.metrics, dict[str, torch.Tensor])
    with el.Recorder("runs/mine", method="clip_cov") as recorder:
        assert_type(recorder, el.Recorder)
        recorder.record(0, out, logprobs=logprobs, advantages=advantages, mask=mask)
        recorder.evaluate(0, split="validation", metric="accuracy", value=0.41, n=500)
    return out.loss


def look(path: str) -> str:
    """Open, fit, compare."""
    run = el.open_run(path)
    assert_type(run, el.Run)
    assert_type(run.steps(), pd.DataFrame)
    assert_type(run.problems(), list[el.Problem])
    fit = el.fit_curve([1.0, 0.5, 0.2], [0.1, 0.2, 0.3])
    assert_type(fit, el.CurveFit)
    assert_type(fit.ceiling, float)
    assert_type(fit.warnings, tuple[str, ...])
    comparison = el.compare_runs(el.open_runs(path))
    assert_type(comparison, el.Comparison)
    assert_type(el.replay(run, control="kl_cov_7b"), el.Replay)
    assert_type(el.attribute(run), el.Attribution)
    assert_type(el.entropy_dynamics(run), el.Dynamics)
    assert_type(el.analyze_tails([0.1, 0.2]), el.TailReport)
    assert_type(el.fit_power_law([1.0, 2.0]), el.PowerLawFit)
    return comparison.summary()
