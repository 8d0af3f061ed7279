"""A policy in training: what a method needs beside its settings."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch

from ..losses.control_sequence import as_controls
from ..losses.controls.lp_reg import LpReg
from .model import PolicyModel
from .settings import LabMethod, LabSettings


@dataclass(frozen=True)
class Learner:
    """A policy in training: the model, its optimizer, and the initial policy where the control needs it.

    ``filtered``: the control takes the policy without its least likely tokens for reference (Lp-Reg).
    """

    model: PolicyModel
    optimizer: torch.optim.Optimizer
    reference: PolicyModel | None
    filtered: bool = False


def make_learner(model: PolicyModel, method: LabMethod, settings: LabSettings) -> Learner:
    """A learner that trains ``model`` in place."""
    controls = as_controls(method.control)
    filtered = any(isinstance(control, LpReg) for control in controls)
    needs = {name for control in controls for name in control.needs}
    reference = deepcopy(model) if needs & {"ref_logprobs", "full_kl"} and not filtered else None
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate)
    return Learner(model, optimizer, reference, filtered)
