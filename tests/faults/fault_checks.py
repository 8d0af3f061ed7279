"""What a reader must give after a fault: nothing promised is lost, nothing is wrong, problems are named."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
from fault_process import Promises
from fault_trainer import CONFIG, Job, new_policy, record_step, training

import entropylab as el

KILLED = {"interrupted", "incomplete_step", "temporary_file"}
"""Kinds of problems that a killed recorder may leave."""


def bits(table: pa.Table) -> pa.Table:
    """Floats as the integers of the same bits, so that NaN equals NaN and -0.0 differs from 0.0."""
    arrays = [c.cast(c.type) for c in table.combine_chunks().columns]
    views = [c.combine_chunks().view(pa.int32()) if pa.types.is_float32(c.type) else c for c in arrays]
    return pa.table(views, names=table.schema.names)


def rows(batches) -> pa.Table:
    batches = list(batches)
    return bits(pa.Table.from_batches(batches)) if batches else pa.table({})


class Reference:
    """The same training without a fault: frames and rows, of which a reader after a fault gives a prefix."""

    def __init__(self, path: Path, steps: int, evaluation_copies: int = 1) -> None:
        job = Job(str(path), steps=steps, evaluation_copies=evaluation_copies)
        self.length = steps
        with el.Recorder(path, config=CONFIG, method="clip_cov") as recorder:
            for step, values, records in training(new_policy()):
                if step == steps:
                    break
                record_step(recorder, step, values, records, job)
        run = el.open_run(path)
        assert run.problems() == []
        self.steps, self.updates = run.steps(), run.steps(by="update")
        self.evaluations = run.evaluations()
        self.tokens, self.responses = rows(run.tokens()), rows(run.responses())

    def check_steps(self, run: el.Run, count: int) -> None:
        """Steps 0 .. count - 1, bit by bit, and no other."""
        for by, expected in (("step", self.steps), ("update", self.updates)):
            same_frames(run.steps(by=by), expected[expected["step"] < count])
        for kind, expected in (("tokens", self.tokens), ("responses", self.responses)):
            found = rows(getattr(run, kind)())
            first = int((expected["step"].to_numpy() < count).sum())
            assert found.num_rows == first, kind
            assert count == 0 or found.equals(expected.slice(0, first).combine_chunks()), kind

    def check_evaluations(self, run: el.Run, promised: int) -> None:
        """Each evaluation that is there is right, and those below ``promised`` are all there."""
        key = ["step", "split", "metric"]
        found = run.evaluations().set_index(key)
        expected = self.evaluations.set_index(key)
        assert found.index.is_unique
        if not found.empty:
            pd.testing.assert_frame_equal(found, expected.loc[found.index], check_exact=True)
        missing = expected.index.difference(found.index)
        assert all(step >= promised for step, _, _ in missing), missing


def same_frames(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    if expected.empty:
        assert found.empty  # and without the columns of metrics, which no row has given
        return
    left, right = (f.drop(columns="recorded_at").reset_index(drop=True) for f in (found, expected))
    pd.testing.assert_frame_equal(left, right, check_exact=True)


def check_kept(path: Path, promises: Promises, reference: Reference) -> int:
    """The run after a kill: a prefix of the reference, no shorter than promised. Its number of steps."""
    run = el.open_run(path)
    kept = len(run.whole_steps())
    lost = [s for s in range(promises.steps) if s not in set(run.whole_steps())]
    assert not lost, f"promised steps {lost} are lost"
    reference.check_steps(run, kept)
    reference.check_evaluations(run, promises.evaluated)
    check_problems(run, promises, kept)
    return kept


def check_problems(run: el.Run, promises: Promises, kept: int) -> None:
    """Every stray file is named, the interruption is told with the last whole step, and nothing else is."""
    problems = run.problems()
    assert {p.kind for p in problems} <= KILLED, problems
    named = {p.path for p in problems}
    strays = {p.relative_to(run.path).as_posix() for p in run.path.rglob(".*.tmp")}
    assert strays == {p.path for p in problems if p.kind == "temporary_file"}
    assert all((run.path / path).exists() for path in named)
    if promises.closed:
        assert problems == []
    if promises.attempt is None or promises.closed:
        return
    if not list((run.path / "markers").glob("open-rank-*")):  # it died on its way out of close()
        assert kept == promises.ended
        return
    (told,) = (p for p in problems if p.kind == "interrupted")
    own = kept - promises.start
    assert (f"its last whole step is {kept - 1}" if own else "it finished no step") in told.message
