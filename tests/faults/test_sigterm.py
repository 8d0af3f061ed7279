"""SIGTERM and SIGINT: inside ``with`` all ended steps are written, and the note tells why it ended."""

from __future__ import annotations

import random
import signal
import time

import pytest
from fault_checks import check_kept
from fault_process import Trainer
from fault_trials import trials

import entropylab as el


def train_and_signal(path, draw: random.Random, number: int, **job):
    with Trainer(path, **job) as trainer:
        trainer.wait_for("open")
        time.sleep(draw.uniform(0.0, 0.4))
        promises = trainer.end(number)
        return promises, trainer.code


@pytest.mark.long
@pytest.mark.parametrize("seed", trials(1, 30))
def test_sigterm_without_a_handler_is_a_kill(seed, fast, reference, outcome):
    path, steps = fast / "r", reference.length
    promises, code = train_and_signal(path, random.Random(seed), signal.SIGTERM, steps=steps)
    assert code in (-signal.SIGTERM, 0)
    check_kept(path, promises, reference)
    outcome("SIGTERM, no handler", sees="as after SIGKILL")


@pytest.mark.quick("SIGTERM-*")
@pytest.mark.parametrize("seed", trials(1, 40))
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_that_raises_inside_the_with_block(name, seed, fast, reference, outcome):
    """The exception may strike inside any line of the recorder; each ended step is whole all the same."""
    path, steps = fast / "r", reference.length
    number = getattr(signal, name)
    promises, code = train_and_signal(path, random.Random(seed), number, steps=steps, exit_on_sigterm=True)
    if promises.closed:
        return
    assert code in (143, 1, -signal.SIGINT)
    kept = check_kept(path, promises, reference)
    assert kept >= promises.ended
    run = el.open_run(path)
    (told,) = (p.message for p in run.problems() if p.kind == "interrupted")
    assert {"SIGTERM": "SystemExit: 143", "SIGINT": "KeyboardInterrupt"}[name] in told
    assert not list(run.path.rglob(".*.tmp"))
    outcome(f"{name}, raised in the with block", sees="all ended steps; the exception is named as the reason")
