"""The recorder: what a training loop hands its tokens to."""

from __future__ import annotations

import atexit
import math
import os
import sys
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self

from ..errors import EntropylabError, InvalidInputError, RecorderError, UnknownNameError
from ..schema import FORMAT_VERSION
from .alert_watch import AlertWatch
from .alerts import Alert
from .arrays import whole_number
from .background import WriterThread
from .influence_schedule import InfluenceSchedule
from .inputs import MicroStep, checked_texts, fields_of, loss_tokens, split_metrics
from .paths import evaluation_file, location
from .pieces import make_piece
from .run_info import FORMAT_FIELD, now, strict_json
from .session import Session
from .staging import Staged, Staging
from .step_files import load_arrow, write_step
from .step_under_way import StepUnderWay
from .token_sampling import TokenSampling
from .vocabulary import checked_vocabulary
from .writer import write_json

_INT32 = 2**31 - 1
_INT16 = 2**15 - 1


class Recorder:
    """Writes a run folder: copies in `record`, writes on one thread, atomic and durable a step at a time.

    ``config`` must be strict JSON. ``rank`` and ``world_size`` name this process among those that write to
    the folder. In a folder that holds a run already the recorder goes on as a new attempt. Memory holds the
    step under way and the one that is being written, no more: `end_step` waits for the disk.

    ``on_error``: "raise" raises what the writer met (disk full, no permission) as `RecorderError` at the next
    call and at close; "warn" warns once, stops recording and lets training go on. A folder that cannot be
    written at the start raises in either case, and so does a wrong argument.

    ``on_alert`` is called on the caller's thread, at the first call after a step is written, with each new
    `Alert` of this rank's steps (`record.alerts`: entropy collapsed, about to, or rising on, a control
    that selects nothing, old and new logprobs apart, prompts without an advantage, values not finite,
    recording stopped).

    ``influence_every``: the steps whose tokens get an ``influence``, from 0; who trains asks
    `wants_influence` before each step. ``influence_share``: most of the training's time that it may take.

    ``vocabulary``: the text of each token id, [V], kept beside the tokens so that readers show text.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        config: Mapping[str, Any] | None = None,
        rank: int = 0,
        world_size: int = 1,
        token_sampling: TokenSampling | None = None,
        method: str | None = None,
        parent: str | None = None,
        on_error: Literal["raise", "warn"] = "raise",
        on_alert: Callable[[Alert], object] | None = None,
        influence_every: int | None = None,
        influence_share: float = 0.1,
        vocabulary: Sequence[str] | None = None,
    ) -> None:
        self._influence = (
            None if influence_every is None else InfluenceSchedule(influence_every, influence_share)
        )
        world_size = whole_number(world_size, "world_size", 1, _INT16)
        rank = whole_number(rank, "rank", 0, world_size - 1)
        config = strict_json({} if config is None else config, "config")
        if on_error not in ("raise", "warn"):
            raise UnknownNameError(f"on_error must be 'raise' or 'warn', got {on_error!r}")
        texts = checked_vocabulary(vocabulary) if rank == 0 else None
        self._sampling = token_sampling or TokenSampling()
        self._on_error = on_error
        self.path = location(path)
        self._session = Session(
            self.path,
            rank=rank,
            world_size=world_size,
            config=config,
            method=method,
            parent=parent,
            sampling=self._sampling,
            vocabulary=texts,
        )
        self._on_alert = on_alert
        self._watch = None if on_alert is None else AlertWatch(config)
        self._alerts: deque[Alert] = deque()
        self._staging = Staging()
        self._step = StepUnderWay()
        self._closed = self._given_up = False
        self._pid = os.getpid()
        load_arrow()
        self._writer = WriterThread(f"entropylab-writer-{rank}")
        atexit.register(self._abandon, "the interpreter ended before close()")

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        return self._session.origin.attempt

    @property
    def stopped(self) -> bool:
        """Whether recording has stopped after a failure, with ``on_error="warn"``."""
        return self._given_up

    def wants_influence(self, step: int) -> bool:
        """Whether the influence of this step's tokens is due, by ``influence_every`` and ``influence_share``.

        What `token_influence` gives goes to ``record(influence=...)`` as it is, which takes note of its time.
        """
        return self._influence is not None and not self.stopped and self._influence.wants(step)

    def record(
        self,
        step: int,
        out: Any = None,
        *,
        logprobs: Any,
        advantages: Any,
        mask: Any,
        old_logprobs: Any = None,
        ref_logprobs: Any = None,
        entropy: Any = None,
        entropy_after: Any = None,
        influence: Any = None,
        rewards: Any = None,
        prompt_ids: Any = None,
        sample_ids: Any = None,
        token_ids: Any = None,
        texts: Sequence[str] | None = None,
        update: int = 0,
        micro_step: int = 0,
        rollout: int | None = None,
        metrics: Mapping[str, Any] | None = None,
        keep_empty: bool = False,
    ) -> None:
        """Keep the tokens of one micro-step; the caller may overwrite all inputs when it returns.

        Tensors of any float type and device, or NumPy arrays: [B, T], advantages also [B]; rewards [B], or
        [B, T] either constant in each response or rewards of tokens, which are then summed. ``out`` is the
        result of `policy_loss`; None where one only observes: the covariance is then centred over this rank's
        tokens of the update. ``metrics`` are scalars of the update. ``texts``: the responses as strings, kept
        only where given. ``influence``: what `token_influence` gave, whose check and cost go to the metrics,
        or [B, T], nats. Responses without a token inside the mask are left out unless ``keep_empty`` (logs
        that hold texts without tokens); a micro-step may be empty. The first record of a new step ends the
        one before.

        A wrong shape or type raises here, and so does a wrong value in host memory (a mask that is not 0/1,
        an id that does not fit). A wrong value on a device is found on the writer thread, since reading it
        here would wait for the device: it raises at the next call, and its step is not stored.
        """
        metrics, influence = self._take_influence(metrics, influence)
        given = {k: v for k, v in locals().items() if k not in ("self", "step", "out")}
        step = whole_number(step, "step", 0, _INT32)
        update = whole_number(update, "update", 0, _INT16)
        micro_step = whole_number(micro_step, "micro_step", 0, _INT16)
        rollout = None if rollout is None else whole_number(rollout, "rollout", 0, _INT32)
        if not self._going():
            return
        self._step.check_order(step, update, micro_step)
        fields = fields_of(given, loss_tokens(out))
        rows = int(fields["logprobs"].view.shape[0])
        scalars, device_scalars = split_metrics(metrics)
        origin = self._session.origin
        call = MicroStep(
            update=update,
            micro_step=micro_step,
            rollout=rollout,
            default_ids=self._step.default_ids(step, rows, origin.rank, origin.world_size),
            texts=checked_texts(texts, rows),
            keep_empty=keep_empty,
            metrics=scalars,
        )
        staged = self._staging.copy(call, {**fields, **device_scalars})
        if self._step.newest < 0:
            self._writer.submit(lambda: self._session.begin(step))
        if self._step.number not in (None, step):
            self.end_step(self._step.newest)
        self._step.add(step, rows, staged)

    def _take_influence(
        self, metrics: Mapping[str, Any] | None, influence: Any
    ) -> tuple[Mapping[str, Any] | None, Any]:
        """(metrics with those of a `token_influence`, its tokens); other values as they are."""
        if not hasattr(influence, "seconds"):
            return metrics, influence
        if self._influence is not None:
            self._influence.spent(influence.seconds)
        return {**(metrics or {}), **influence.metrics}, influence.tokens

    def evaluate(
        self, step: int, *, split: str = "validation", metric: str = "accuracy", value: float, n: int
    ) -> None:
        """Keep one evaluation: ``value`` of ``metric`` over ``n`` problems, after ``step`` steps."""
        step = whole_number(step, "step", 0, _INT32)
        n = whole_number(n, "n", 1, 2**53)
        number = float(value)
        if not math.isfinite(number):
            raise InvalidInputError(
                f"the value of {split}/{metric} at step {step} must be finite, got {number}"
            )
        for name, text in (("split", split), ("metric", metric)):
            if not isinstance(text, str) or not 0 < len(text) <= 60:
                raise InvalidInputError(f"{name} must be a string of 1 to 60 characters, got {text!r}")
        if not self._going():
            return
        row = {"step": step, "split": split, "metric": metric, "value": number, "n": n}
        content = {FORMAT_FIELD: FORMAT_VERSION, "kind": "evaluation", **row}
        content |= {"attempt": self.attempt, "created": now()}
        path = self.path / evaluation_file(step, split, metric, self.attempt)
        self._writer.submit(lambda: write_json(path, content))

    def end_step(self, step: int) -> None:
        """End a step and write it in the background; when this returns, all steps before it are durable."""
        step = whole_number(step, "step", 0, _INT32)
        under_way = self._step.number
        if not self._going() or (under_way is None and step == self._step.last):
            return
        if step != under_way:
            found = "no step" if under_way is None else f"step {under_way}"
            raise RecorderError(f"end_step({step}): {found} is under way; record the step's tokens first")
        staged = self._step.end()
        self._staging.send(staged)
        if self._tolerate(self._writer.wait):
            self._writer.submit(lambda: self._write_step(step, staged))

    def flush(self) -> None:
        """End the step under way and wait until everything is durable."""
        if not self._going():
            return
        if self._step.number is not None:
            self.end_step(self._step.number)
        self._tolerate(self._writer.wait)

    def close(self) -> None:
        """Flush, end the writer thread, and mark the run as closed; a second call does nothing."""
        if self._closed:
            return
        try:
            self.flush()
            self._tell_alerts()
            if not self._given_up:
                self._tolerate(self._session.end)
        finally:
            self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._abandon(f"{type(error).__name__}: {error}")

    def _abandon(self, reason: str) -> None:
        """Write the steps that have ended, drop the one under way, and leave a note that says so."""
        if self._closed or os.getpid() != self._pid:
            return
        self._stop(reason)

    def _write_step(self, step: int, staged: list[Staged]) -> None:
        """On the writer thread: the step's files, and in `_run.json` what the covariance was centred over."""
        pieces = [make_piece(s.call, s.arrays()) for s in staged]
        marker = write_step(
            self._session.origin, step, pieces, self._sampling, self._session.newest_attempt()
        )
        self._session.note_covariance_sets(u.covariance_set for u in marker.updates)
        pieces.clear()
        self._staging.release(staged)
        if self._watch is not None:
            self._alerts.extend(self._watch.see(marker))

    def _stop(self, interruption: str | None = None) -> None:
        """End the writer thread and let go of the rank."""
        self._closed = True
        self._step.drop()
        atexit.unregister(self._abandon)
        self._writer.stop()
        if interruption is not None:
            self._session.interrupt(interruption, self._step.number)
        self._session.release()

    def _going(self) -> bool:
        """Whether what follows is recorded; raises where the recorder is closed or the writer has failed."""
        if self._closed:
            raise RecorderError(f"the recorder of {self.path} is closed; open a new Recorder to go on")
        self._tell_alerts()
        return self._tolerate(self._writer.check)

    def _tell_alerts(self) -> None:
        while self._alerts and self._on_alert is not None:
            self._on_alert(self._alerts.popleft())

    def _tolerate(self, call: Callable[[], object]) -> bool:
        """Whether a call that may meet the writer's failure went well; with "warn" it never raises."""
        if self._given_up:
            return False
        try:
            call()
        except EntropylabError as error:
            if self._on_error == "raise":
                raise
            self._given_up = True
            self._step.drop()
            text = f"recording to {self.path} has stopped, training goes on: {error}"
            warnings.warn(text, RuntimeWarning, stacklevel=_callers_level())
            self._alerts.append(Alert("recording_stopped", max(self._step.newest, 0), text))
            self._tell_alerts()
            return False
        return True


def _callers_level() -> int:
    """The ``stacklevel`` of the first frame outside this file, seen from the caller of this function."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        frame, level = frame.f_back, level + 1
    return level
