"""From the events of the training loop to a run folder."""

from __future__ import annotations

from ..record.recorder import Recorder
from .evaluation import Evaluation
from .tasks import COUNTDOWN, Task
from .training import StepResult, Update


def record_event(
    recorder: Recorder, event: StepResult | Evaluation, *, texts: bool = True, task: Task = COUNTDOWN
) -> None:
    """Write one step, with the responses as text or without, or one evaluation.

    When it returns, all steps before it are on disk.
    """
    if isinstance(event, Evaluation):
        _record_evaluation(recorder, event)
        return
    for update in event.updates:
        _record_update(recorder, event, update, task if texts else None)
    recorder.end_step(event.step)


def _record_evaluation(recorder: Recorder, evaluation: Evaluation) -> None:
    for metric, value in evaluation.metrics.items():
        recorder.evaluate(evaluation.step, split=evaluation.split, metric=metric, value=value, n=evaluation.n)


def _record_update(recorder: Recorder, result: StepResult, update: Update, texts: Task | None) -> None:
    rollout, rows = result.rollout, update.rows
    recorder.record(
        result.step,
        update.out,
        logprobs=update.logprobs,
        old_logprobs=rollout.old_logprobs[rows],
        advantages=rollout.advantages[rows],
        mask=rollout.mask[rows],
        entropy=rollout.entropy[rows],
        entropy_after=result.entropy_after[rows],
        influence=update.influence,
        rewards=rollout.rewards[rows],
        prompt_ids=rollout.prompt_ids[rows],
        sample_ids=rollout.sample_ids[rows],
        token_ids=rollout.responses[rows],
        texts=None
        if texts is None
        else [texts.decode(response) for response in rollout.responses[rows].tolist()],
        update=update.index,
        micro_step=update.micro_step,
        metrics={"loss": update.loss, "grad_norm": update.gradient_norm},
    )
