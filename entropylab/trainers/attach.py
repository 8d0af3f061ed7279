"""Finding the adapter of a trainer without importing any trainer."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInputError
from .handle import Handle

if TYPE_CHECKING:
    from ..record.alerts import Alert
    from ..record.token_sampling import TokenSampling

_ADAPTERS: dict[str, str] = {"trl": "trl.adapter"}
"""Top-level package of a trainer -> module of this folder that attaches to it (its function ``attach``)."""

HEADS = ("logits", "fused")
"""Where logprobs and entropies come from: the trainer's own forward pass, or hidden states."""


def attach(
    trainer: Any,
    path: str | os.PathLike[str],
    *,
    control: Any = None,
    token_sampling: TokenSampling | None = None,
    select_by: str = "auto",
    method: str | None = None,
    config: Mapping[str, Any] | None = None,
    on_alert: Callable[[Alert], object] | None = None,
    head: str = "logits",
    influence_every: int | None = None,
    influence_share: float = 0.1,
) -> Handle:
    """Record a trainer's tokens into the run folder ``path``, and steer its entropy where a control is given.

    Without a control nothing of the training changes, to the bit. Works with ``trl.GRPOTrainer``; call it on
    every rank, before ``trainer.train()``.

    Args:
        trainer: the trainer object.
        path: folder of the run; one that holds a run already gets a new attempt.
        control: one control that can be written as a changed advantage: ``ClipCov``, ``KLCov`` on sampled
            tokens, ``RandomClip``, ``EntropyAdvantage``, ``SampleWeight``, ``TargetClipCov`` or
            ``TargetKLCov``.
        token_sampling: which token rows are stored; None: all.
        select_by: the set that a control chooses its tokens from. ``old``: the whole update, all its
            micro-batches and ranks, by the logprobs of the rollout; no forward pass. ``forward``: the whole
            update, by the current logprobs; one more forward pass without gradient where an update has
            several micro-batches. ``micro_batch``: each micro-batch alone; no forward pass, but not the
            method's set. ``auto``: ``old`` where the trainer keeps old logprobs, else ``forward``.
        method: label of the run; None: from the control, ``baseline`` without one.
        config: further JSON data for the run's config.
        on_alert: called with each new `Alert` of this rank's steps, as `Recorder` does.
        head: where logprobs and entropies come from. ``logits``: the trainer's own forward pass. ``fused``:
            hidden states, a chunk of tokens at a time, with logits in float32, so that those of all tokens
            never exist; for models whose output embedding is a plain linear layer.
        influence_every: steps, from 0, of whose tokens the exact effect on the entropy is recorded (see
            `token_influence`), as it would be without the control; on one process. It costs some training
            steps each time, and at most ``influence_share`` of the training's time.

    Returns:
        A ``Handle`` with ``detach()``, ``recorder``, ``control`` and ``notes``; usable with ``with``.

    Raises:
        InvalidInputError: a trainer without an adapter, one that is attached already, or a setting of the
            trainer or the control that does not go together with the other; the message says the way out.
    """
    if head not in HEADS:
        raise InvalidInputError(f"attach: head={head!r} is unknown; choose one of {', '.join(HEADS)}")
    adapter = _adapter_of(trainer)
    return adapter.attach(
        trainer,
        path,
        control=control,
        token_sampling=token_sampling,
        select_by=select_by,
        method=method,
        config=dict(config or {}),
        on_alert=on_alert,
        head=head,
        influence_every=influence_every,
        influence_share=influence_share,
    )


def _adapter_of(trainer: Any) -> Any:
    """The adapter module of the first class of the trainer that comes from a known package."""
    for kind in type(trainer).__mro__:
        package = kind.__module__.partition(".")[0]
        if package in _ADAPTERS and package in sys.modules:
            return importlib.import_module(f".{_ADAPTERS[package]}", __package__)
    raise InvalidInputError(
        f"attach: no adapter for {type(trainer).__module__}.{type(trainer).__qualname__}; there is one for "
        f"{', '.join(_ADAPTERS)}. With another trainer call Recorder.record from its loss"
    )
