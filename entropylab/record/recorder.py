"""The recorder: what a training loop hands its tokens to."""

from __future__ import annotations

import atexit
import math
import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from ..errors import InvalidInputError, MissingInputError, RecorderError
from ..schema import FORMAT_VERSION
from .arrays import whole_number
from .background import WriterThread
from .paths import evaluation_file, local_path
from .pieces import Piece, make_piece
from .run_info import FORMAT_FIELD, now, strict_json
from .session import Session
from .step_files import load_arrow, write_step
from .token_sampling import TokenSampling
from .writer import write_json

_INT32 = 2**31 - 1
_INT16 = 2**15 - 1


class Recorder:
    """Writes a run folder: copies in `record`, writes on one thread, atomic and durable a step at a time.

    ``config`` must be strict JSON. ``rank`` and ``world_size`` name this process among those that write to
    the folder. In a folder that holds a run already the recorder goes on as a new attempt.
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
    ) -> None:
        world_size = whole_number(world_size, "world_size", 1, _INT16)
        rank = whole_number(rank, "rank", 0, world_size - 1)
        config = strict_json({} if config is None else config, "config")
        self._sampling = token_sampling or TokenSampling()
        self.path = local_path(path)
        self._session = Session(
            self.path,
            rank=rank,
            world_size=world_size,
            config=config,
            method=method,
            parent=parent,
            sampling=self._sampling,
        )
        self._pieces: list[Piece] = []
        self._step: int | None = None
        self._last_step = -1
        self._rows_of_step = 0
        self._closed = False
        self._pid = os.getpid()
        load_arrow()
        self._writer = WriterThread(f"entropylab-writer-{rank}")
        atexit.register(self._abandon, "the interpreter ended before close()")

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        return self._session.origin.attempt

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
        """Keep the tokens of one micro-step; all inputs are copied when it returns.

        Tensors of any float type and device, or NumPy arrays: [B, T], advantages also [B]; rewards [B], or
        [B, T] either constant in each response or rewards of tokens, which are then summed. ``out`` is the
        result of `policy_loss`; None where one only observes: the covariance is then centred over this rank's
        tokens of the update. ``metrics`` are scalars of the update. Responses without a token inside the mask
        are left out unless ``keep_empty`` (logs that hold texts without tokens); a micro-step may be empty.
        The first record of a new step ends the one before.
        """
        given = {k: v for k, v in locals().items() if k not in ("self", "step", "out")}
        step = whole_number(step, "step", 0, _INT32)
        given["update"] = whole_number(update, "update", 0, _INT16)
        given["micro_step"] = whole_number(micro_step, "micro_step", 0, _INT16)
        given["rollout"] = None if rollout is None else whole_number(rollout, "rollout", 0, _INT32)
        self._check_open()
        self._check_order(step, given["update"], given["micro_step"])
        rows = _rows(logprobs)
        piece = make_piece(given, _loss_tokens(out), self._default_ids(step, rows))
        if self._step is not None and self._step != step:
            self.end_step(self._step)
        self._rows_of_step = rows + (self._rows_of_step if self._step == step else 0)
        self._step = step
        self._pieces.append(piece)

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
        self._check_open()
        row = {"step": step, "split": split, "metric": metric, "value": number, "n": n}
        content = {FORMAT_FIELD: FORMAT_VERSION, "kind": "evaluation", **row}
        content |= {"attempt": self.attempt, "created": now()}
        path = self.path / evaluation_file(step, split, metric, self.attempt)
        self._writer.submit(lambda: write_json(path, content))

    def end_step(self, step: int) -> None:
        """End a step and write it in the background; when this returns, all steps before it are durable."""
        self._check_open()
        step = whole_number(step, "step", 0, _INT32)
        if self._step is None and step == self._last_step:
            return
        if step != self._step:
            under_way = "no step" if self._step is None else f"step {self._step}"
            raise RecorderError(f"end_step({step}): {under_way} is under way; record the step's tokens first")
        self._writer.wait()
        pieces, self._pieces, self._step, self._last_step = self._pieces, [], None, step
        self._writer.submit(lambda: self._write_step(step, pieces))

    def flush(self) -> None:
        """End the step under way and wait until everything is durable."""
        self._check_open()
        if self._step is not None:
            self.end_step(self._step)
        self._writer.wait()

    def close(self) -> None:
        """Flush, end the writer thread, and mark the run as closed; a second call does nothing."""
        if self._closed:
            return
        try:
            self.flush()
            self._session.end()
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
        self._stop()
        self._session.interrupt(reason, self._step)

    def _write_step(self, step: int, pieces: list[Piece]) -> None:
        """On the writer thread: the step's files, and in `_run.json` what the covariance was centred over."""
        marker = write_step(self._session.origin, step, pieces, self._sampling)
        self._session.note_covariance_sets(u.covariance_set for u in marker.updates)

    def _stop(self) -> None:
        self._closed = True
        atexit.unregister(self._abandon)
        self._writer.stop()

    def _check_open(self) -> None:
        if self._closed:
            raise RecorderError(f"the recorder of {self.path} is closed; open a new Recorder to go on")
        self._writer.check()

    def _check_order(self, step: int, update: int, micro_step: int) -> None:
        if step <= self._last_step or (self._step is not None and step < self._step):
            raise RecorderError(
                f"record(step={step}) after step {max(self._last_step, self._step or 0)} of this attempt; "
                "after a restart open a new Recorder, which supersedes the steps that are repeated"
            )
        same = self._step == step and any(
            (p.update, p.micro_step) == (update, micro_step) for p in self._pieces
        )
        if same:
            raise RecorderError(
                f"record(step={step}, update={update}, micro_step={micro_step}) was called twice; "
                "number the optimizer updates with update= and the pieces of accumulation with micro_step="
            )

    def _default_ids(self, step: int, rows: int) -> np.ndarray:
        """Ids of responses that were not given any: unique over steps and ranks."""
        origin = self._session.origin
        first = self._rows_of_step if self._step == step else 0
        index = np.arange(first, first + rows, dtype=np.int64)
        return (np.int64(step) << 32) + index * origin.world_size + origin.rank


def _rows(logprobs: Any) -> int:
    shape = getattr(logprobs, "shape", None)
    shape = np.shape(logprobs) if shape is None else shape
    return int(shape[0]) if len(shape) else 0


def _loss_tokens(out: Any) -> Mapping[str, Any]:
    """The token values that the loss used, empty where one only observes."""
    if out is None:
        return {}
    tokens = getattr(out, "tokens", None)
    if not isinstance(tokens, Mapping):
        raise InvalidInputError(f"out must be the result of policy_loss or None, got {type(out).__name__}")
    if "covariance" not in tokens:
        raise MissingInputError(f"out.tokens must hold 'covariance', it holds {sorted(tokens)}")
    return tokens
