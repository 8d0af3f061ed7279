"""verl's synchronous trainer with a recorder in the driver, and one choice of tokens for the whole batch."""

from __future__ import annotations

from functools import partial
from typing import Any

import transfer_queue
from omegaconf import DictConfig, open_dict
from tensordict import TensorDict
from verl.trainer.distillation import is_distillation_enabled
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.utils.config import omega_conf_to_dataclass

from ...errors import InvalidInputError
from ...record.recorder import Recorder
from ...record.token_sampling import TokenSampling
from ..token_texts import token_texts
from .batches import FIELDS, VerlBatch, read_batch, record_batch
from .names import PREFIX, LossSettings, loss_settings
from .run_settings import RunSettings, run_config, run_settings
from .validations import evaluations
from .whole_batch import SAMPLE_ID_KEY, SELECTION_KEY, actor_loss, choose_on_batch


class EntropylabSync(PPOTrainerSync):
    """``trainer.v1.trainer_mode=entropylab_sync``: trains as ``sync`` does, and records each update.

    The batch is read from the transfer queue before the actor's update. Where the loss is one of ours that
    chooses tokens, they are chosen here, once, on the whole batch by its old logprobs; otherwise nothing of
    the training changes. Settings: the keys of ``RunSettings`` below ``entropylab`` in verl's config.
    """

    def __init__(self, config: DictConfig) -> None:
        self.entropylab_settings: RunSettings = run_settings(config)
        with open_dict(config):
            config.trainer.v1.trainer_mode = "sync"
        super().__init__(config)
        self.entropylab_loss: LossSettings | None = None
        mode = config.actor_rollout_ref.actor.policy_loss.get("loss_mode", "vanilla")
        if mode.startswith(PREFIX):
            actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
            loss = loss_settings(mode, actor)
            on_batch = self.entropylab_settings.choose_on == "batch"
            self.entropylab_loss = loss.on_old_logprobs() if on_batch else loss

    def init(self) -> None:
        """Build everything as verl does; the workers get the loss that knows the whole batch's choice."""
        super().init()
        self.give_loss()

    def give_loss(self) -> None:
        """Give the workers ``actor_loss`` where tokens are chosen on the whole batch.

        Raises:
            InvalidInputError: distillation is on, whose loss that would replace.
        """
        if self._chooses():
            if is_distillation_enabled(self.config.get("distillation")):
                raise InvalidInputError(
                    "distillation and entropylab.choose_on=batch both set the workers' loss; set "
                    "+entropylab.choose_on=micro_batch"
                )
            actor = omega_conf_to_dataclass(self.config.actor_rollout_ref.actor)
            self.actor_rollout_wg.set_loss_fn(partial(actor_loss, config=actor))

    def fit(self, agent_loop_manager: Any) -> None:
        """Train as verl does; the recorder closes at the end, or notes the error that ended it."""
        with self.open_recorder() as self.entropylab_recorder:
            super().fit(agent_loop_manager)

    def open_recorder(self) -> Recorder:
        """The recorder of the run that the settings name."""
        settings = self.entropylab_settings
        return Recorder(
            settings.path,
            config=run_config(self.config, self.entropylab_loss, whole_batch=self._chooses()),
            method=settings.method,
            token_sampling=TokenSampling(settings.every_steps, settings.response_fraction),
            on_error=settings.on_error,
            vocabulary=token_texts(self.tokenizer),
        )

    def _chooses(self) -> bool:
        loss, settings = self.entropylab_loss, self.entropylab_settings
        return settings.choose_on == "batch" and loss is not None and loss.chooses

    def _update_actor(self, batch: Any, metrics: dict) -> Any:
        data = transfer_queue.kv_batch_get(
            keys=batch.keys, partition_id=batch.partition_id, select_fields=list(FIELDS)
        )
        read, out = read_batch(data), None
        if self._chooses():
            out = self._choose(batch, read, metrics)
        updated = super()._update_actor(batch, metrics)
        batch.extra_info.pop(SELECTION_KEY, None)
        record_batch(
            self.entropylab_recorder,
            self.global_steps,
            read,
            out=out,
            update=self.local_trigger_step,
            texts=self._texts(read),
            metrics={name: value for name, value in metrics.items() if isinstance(value, (int, float))},
        )
        return updated

    def _choose(self, batch: Any, read: VerlBatch, metrics: dict) -> Any:
        """Choose on the whole batch, send the choice along with it, and report it."""
        assert self.entropylab_loss is not None
        ids = read.sample_ids(self.global_steps, self.local_trigger_step)
        selection, out = choose_on_batch(self.entropylab_loss, read, ids, step=self.global_steps)
        fields = TensorDict({SAMPLE_ID_KEY: ids}, batch_size=len(ids))
        transfer_queue.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=fields)
        if batch.fields is not None and SAMPLE_ID_KEY not in batch.fields:
            batch.fields = [*batch.fields, SAMPLE_ID_KEY]
        batch.extra_info[SELECTION_KEY] = selection
        metrics.update({name: float(value) for name, value in out.metrics.items()})
        return out

    def _texts(self, read: VerlBatch) -> list[str] | None:
        if not self.entropylab_settings.texts or read.token_ids is None:
            return None
        rows = zip(read.token_ids.tolist(), read.mask.bool().tolist(), strict=True)
        kept = [[token for token, inside in zip(*row, strict=True) if inside] for row in rows]
        return self.tokenizer.batch_decode(kept, skip_special_tokens=False)

    def _validate(self) -> dict[str, float]:
        found = super()._validate()
        for metric, value in evaluations(found).items():
            self.entropylab_recorder.evaluate(
                self.global_steps, metric=metric, value=value, n=max(1, len(self.val_dataset))
            )
        return found
