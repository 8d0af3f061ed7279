"""Attaching to `trl.GRPOTrainer`: what is checked, settled and said before the first step."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

from ...errors import InvalidInputError
from ...record.recorder import Recorder
from ..handle import Handle
from ..token_texts import token_texts
from .attachment import TRLAttachment
from .checks import check_trainer
from .controls import check_control
from .fused_head import FusedHead
from .head_checks import check_fused
from .settings import TrainerSettings, describe, label_of, read_settings
from .settled import Settled, settle
from .update_influence import check_influence

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...record.alerts import Alert
    from ...record.token_sampling import TokenSampling

_log = logging.getLogger("entropylab")


def attach(
    trainer: Any,
    path: str | os.PathLike[str],
    *,
    control: Any,
    token_sampling: TokenSampling | None,
    select_by: str,
    method: str | None,
    config: dict[str, Any],
    on_alert: Callable[[Alert], object] | None = None,
    head: str = "logits",
    influence_every: int | None = None,
    influence_share: float = 0.1,
) -> Handle:
    """Attach to a GRPO trainer; see `entropylab.attach`."""
    _check_kind(trainer)
    settings = read_settings(trainer)
    check_trainer(trainer, settings, controlled=control is not None)
    if control is not None:
        check_control(control, settings)
    if influence_every is not None:
        check_influence(trainer, settings.world_size)
    settled = settle(control, select_by, settings)
    fused = _fused(trainer) if head == "fused" else None
    _say(settled, settings)
    label = label_of(control) if method is None else method
    recorded = {**describe(trainer, settings, settled), "head": head, **config}

    texts = token_texts(trainer.processing_class) if settings.rank == 0 else None

    def open_recorder() -> Recorder:
        return Recorder(
            path,
            config=recorded,
            rank=settings.rank,
            world_size=settings.world_size,
            token_sampling=token_sampling,
            method=label,
            on_alert=on_alert,
            influence_every=influence_every,
            influence_share=influence_share,
            vocabulary=texts,
        )

    return Handle(TRLAttachment(trainer, settings, settled, open_recorder, fused))


def _fused(trainer: Any) -> FusedHead:
    check_fused(trainer)
    return FusedHead(trainer)


def _check_kind(trainer: Any) -> None:
    grpo = getattr(sys.modules["trl"], "GRPOTrainer", None)
    if grpo is None or not isinstance(trainer, grpo):
        raise InvalidInputError(
            f"attach: of TRL's trainers only GRPOTrainer and its subclasses have an adapter, got "
            f"{type(trainer).__name__}; call Recorder.record from its loss"
        )
    if getattr(trainer, "_entropylab", None) is not None:
        raise InvalidInputError(
            "attach: this trainer is attached already; call handle.detach() of the first attachment"
        )


def _say(settled: Settled, settings: TrainerSettings) -> None:
    if settings.rank != 0:
        return
    for note in settled.notes:
        _log.warning(note)
    for warning in settled.warnings:
        warnings.warn(warning, UserWarning, stacklevel=4)
