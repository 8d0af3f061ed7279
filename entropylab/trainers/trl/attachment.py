"""The attachment: follows the trainer from micro-batch to micro-batch, records, and lets the control in."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from ...errors import EntropylabError
from ...losses.control_sequence import update_control
from ...losses.policy_loss import PolicyLoss
from .advantages import changed_advantages
from .choosing import Chooser
from .evaluations import Evaluations, total_reward
from .fused_head import FusedHead
from .micro_batch import Forward, MicroBatch, as_forward, micro_batch, to_host
from .rollouts import Rollouts, step_of
from .seam import ForwardDone, LateAdvantages, stop, swap_class
from .update_influence import UpdateInfluence
from .update_log import HostBatch, UpdateLog

if TYPE_CHECKING:
    from torch import Tensor

    from ...record.recorder import Recorder
    from .settings import TrainerSettings
    from .settled import Settled


class TRLAttachment:
    """What is attached to one trainer; its class is swapped at once."""

    def __init__(
        self,
        trainer: Any,
        settings: TrainerSettings,
        settled: Settled,
        open_recorder: Callable[[], Recorder],
        fused_head: FusedHead | None = None,
    ) -> None:
        self._trainer, self._settings = trainer, settings
        self.control, self.notes = settled.control, settled.notes
        self.fused_head = fused_head
        self._open_recorder = open_recorder
        self.recorder = open_recorder()
        self.evaluations = Evaluations(trainer)
        self.rollouts = Rollouts(trainer, self.evaluations.note_rewards)
        self._update = UpdateLog(trainer.accelerator, keep_covariance=settled.select_by is not None)
        self._influence = UpdateInfluence(trainer)
        self._chooser = Chooser(trainer, settings, settled, self._forward_alone)
        self._loss_of: Callable[[Any], Any] | None = None
        self._forward: Forward | None = None
        self._watching = False
        self._step, self._micro_step = -1, 0
        self._wants_influence = False
        self._finished = False
        self._kind = swap_class(trainer)
        trainer._entropylab = self
        atexit.register(self._close_if_finished)

    def restore(self) -> None:
        """Give the trainer its own class back."""
        atexit.unregister(self._close_if_finished)
        self._trainer.__class__ = self._kind
        del self._trainer._entropylab

    def loss(self, loss_of: Callable[[Any], Any], inputs: Mapping[str, Any]) -> Any:
        """The trainer's loss of a micro-batch, recorded; under a control, of changed advantages."""
        if not self._trainer.model.training:
            return self._evaluation_loss(loss_of, inputs)
        self._advance()
        applied = self._applied_entropy_coef()
        out: PolicyLoss | None = None
        if self.control is None:
            loss, forward = self._watched(loss_of, inputs)
        else:
            loss, forward, out = self._controlled_loss(loss_of, inputs)
        batch = micro_batch(inputs, forward)
        if self._wants_influence and self.control is None:
            self._influence.watch(inputs, batch)
        self._update.add(self._on_host(batch, out, loss, applied))
        return loss

    def note_forward(self, found: Any) -> None:
        """The trainer's forward pass is done; only the one inside a loss is watched."""
        if self._watching:
            self._forward = as_forward(found)

    def note_entropy_mask(self, mask: Tensor) -> None:
        """The trainer keeps to these tokens."""
        if self._watching and self._forward is not None:
            self._forward.entropy_mask = mask

    def after_micro_step(self) -> None:
        """A micro-batch is trained on; after the last of an update, end its step."""
        if not self._trainer.accelerator.sync_gradients or self._step < 0:
            return
        influence = self._influence.take() if self._wants_influence else []
        entropy = self._update.end(self.recorder, self._step, influence)
        self.control = update_control(self.control, entropy)
        self.recorder.end_step(self._step)

    def after_training(self) -> None:
        """Training has ended well: everything is durable, and the recorder closes with the process."""
        self.recorder.flush()
        self._finished = True

    @contextmanager
    def evaluating(self, prefix: str) -> Iterator[None]:
        """Record what is evaluated within as an evaluation after the steps done so far."""
        with self.evaluations.collect(prefix, self.recorder):
            yield

    def take_metrics(self) -> dict[str, float]:
        """Metrics for the trainer's log; none while it evaluates."""
        return self._update.take() if self._trainer.model.training else {}

    def _advance(self) -> None:
        """Number the micro-batch; training anew from an earlier step is a new attempt."""
        step = int(self._trainer.state.global_step)
        if step < self._step:
            self.recorder.close()
            self.recorder = self._open_recorder()
        if step != self._step:
            self._update.drop()
            self._influence.drop()
            self._wants_influence = self.recorder.wants_influence(step)
        self._micro_step = self._micro_step + 1 if step == self._step else 0
        self._step, self._finished = step, False

    def _evaluation_loss(self, loss_of: Callable[[Any], Any], inputs: Mapping[str, Any]) -> Any:
        loss, forward = self._watched(loss_of, inputs)
        batch = micro_batch(inputs, forward)
        self.evaluations.note_entropy(batch.entropy, batch.mask)
        return loss

    def _controlled_loss(
        self, loss_of: Callable[[Any], Any], inputs: Mapping[str, Any]
    ) -> tuple[Any, Forward, PolicyLoss]:
        self._loss_of = loss_of
        self._chooser.prepare(self.control, inputs, self._step, self._micro_step)
        served: list[tuple[Tensor, PolicyLoss]] = []

        def advantages() -> Tensor:
            if not served:
                batch = micro_batch(inputs, self._seen())
                selection = self._chooser.selection(self.control, batch, self._step)
                changed, out = changed_advantages(self.control, batch, selection, self._settings, self._step)
                if self._wants_influence:
                    changed = self._influence.watch_controlled(inputs, batch, out, changed)
                served.append((changed, out))
            return served[0][0]

        loss, forward = self._watched(loss_of, LateAdvantages(dict(inputs), advantages))
        if not served:
            raise EntropylabError(
                "attach: the trainer's loss did not read its advantages from its inputs, so the control had "
                "no effect; attach without control= to observe only, or take another version of TRL"
            )
        return loss, forward, served[0][1]

    def _watched(self, loss_of: Callable[[Any], Any], inputs: Any) -> tuple[Any, Forward]:
        """The loss, and the forward pass within it."""
        self._watching, self._forward = True, None
        try:
            loss = loss_of(inputs)
            return loss, self._seen()
        finally:
            self._watching, self._forward = False, None

    def _seen(self) -> Forward:
        if self._forward is None:
            raise EntropylabError(
                "attach: the trainer's loss did not go through _get_per_token_logps_and_entropies; this "
                "subclass or version of GRPOTrainer cannot be attached to"
            )
        return self._forward

    @torch.no_grad()
    def _forward_alone(self, inputs: Mapping[str, Any]) -> Forward:
        """The forward pass of a micro-batch without gradient: its loss, ended where it reads advantages."""
        assert self._loss_of is not None
        self._watching, self._forward = True, None
        try:
            self._loss_of(LateAdvantages(dict(inputs), stop))
        except ForwardDone:
            return self._seen()
        finally:
            self._watching, self._forward = False, None
        raise EntropylabError("attach: the trainer's loss did not read its advantages from its inputs")

    def _applied_entropy_coef(self) -> float | None:
        """The coefficient of the trainer's own entropy bonus in the coming loss; None where it has none."""
        trainer = self._trainer
        if not getattr(trainer, "_entropy_bonus_enabled", False):
            return None
        if self._settings.adaptive_entropy and not trainer._last_world_entropy <= trainer.args.entropy_target:
            return 0.0
        return float(trainer.entropy_coef)

    def _on_host(
        self, batch: MicroBatch, out: PolicyLoss | None, loss: Tensor, applied: float | None
    ) -> HostBatch:
        by_token = batch.advantages if batch.advantages.dim() == 2 else batch.advantages.unsqueeze(1)
        tensors = {
            "logprobs": batch.logprobs,
            "entropy": batch.entropy,
            "old_logprobs": batch.old_logprobs,
            "ref_logprobs": batch.ref_logprobs,
            "advantages": by_token.expand_as(batch.logprobs),
            "mask": batch.mask,
            "token_ids": batch.token_ids,
        }
        used = {} if out is None else out.tokens
        host = to_host({**tensors, **used})
        logged = {} if applied is None else {"entropy_coef/applied": applied}
        if batch.learning is not batch.mask:
            logged["learning/fraction"] = float(batch.learning.sum() / batch.mask.sum().clamp(min=1))
        return HostBatch(
            tokens={name: host.get(name) for name in tensors},
            used={name: host[name] for name in used},
            responses=self._responses(batch),
            metrics={**self._numbers(batch, loss), **logged},
            logged=logged,
        )

    def _responses(self, batch: MicroBatch) -> dict[str, Any]:
        weights = self._trainer.reward_weights.float().cpu()
        sample_ids = batch.sample_ids.cpu().numpy()
        return {
            "rewards": total_reward(batch.rewards.float().cpu(), weights).numpy(),
            "prompt_ids": batch.prompt_ids.cpu().numpy(),
            "sample_ids": sample_ids,
            "rollout": step_of(int(sample_ids[0])),
        }

    def _numbers(self, batch: MicroBatch, loss: Tensor) -> dict[str, float]:
        """Loss of the update (the mean over its micro-batches), learning rate, means of several rewards."""
        trainer, means = self._trainer, batch.rewards.float().cpu().nanmean(0).tolist()
        names = trainer.reward_func_names if len(means) > 1 else []
        return {
            "loss": float(loss.detach()) * trainer.current_gradient_accumulation_steps,
            "learning_rate": float(trainer.optimizer.param_groups[0]["lr"]),
            **{f"reward/{name}": mean for name, mean in zip(names, means, strict=False)},
        }

    def _close_if_finished(self) -> None:
        if self._finished:
            self.recorder.close()
