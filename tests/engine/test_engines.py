"""The engines: the same values in all three, dead workers, failing reads, what is wrong with the data."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
import worker_functions as work

import entropylab as el
from entropylab.engine import tasks
from entropylab.engine.choice import engine_of
from entropylab.engine.local import Processes, in_process, workers_within
from entropylab.errors import EngineError, InvalidInputError, MissingExtraError, UnknownNameError


def values(outcomes) -> dict[int, object]:
    return {o.index: o.value for o in outcomes}


def test_every_task_is_done_once_in_each_engine(engines):
    for engine in engines.values():
        outcomes = list(engine(work.square, list(range(10)), 10))
        assert sorted(o.index for o in outcomes) == list(range(10))
        assert values(outcomes) == {i: i * i for i in range(10)}
        assert list(engine(work.square, [], 0)) == []


def test_errors_of_the_data_are_outcomes_and_the_rest_goes_on(engines):
    for engine in engines.values():
        outcomes = {o.index: o for o in engine(work.refuse_odd, [0, 1, 2, 3], 4)}
        assert [outcomes[i].value for i in (0, 2)] == [0, 2]
        assert [str(outcomes[i].error) for i in (1, 3)] == ["1 is odd", "3 is odd"]


def test_a_killed_worker_is_replaced_and_its_tasks_are_done(engines, tmp_path):
    for name in ("two processes", "ray"):
        folder = tmp_path / name
        folder.mkdir()
        given = [(str(folder), i) for i in range(8)]
        assert values(engines[name](work.die_once, given, 8)) == {i: i * i for i in range(8)}
        assert (folder / "died").exists()


def test_a_task_that_always_kills_its_worker_is_named(engines):
    with pytest.raises(EngineError, match=r"died 3 times while it did 3;.*fewer workers than 2"):
        list(engines["two processes"](work.always_die, list(range(6)), 6))
    with pytest.raises(EngineError, match="gave up on 3"):
        list(engines["ray"](work.always_die, list(range(6)), 6))


def test_a_read_that_fails_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "_PAUSE", 0.0)
    assert values(in_process(work.fail_twice, [(str(tmp_path), 7)], 1)) == {0: 7}


def test_a_read_that_keeps_failing_is_an_outcome(monkeypatch):
    monkeypatch.setattr(tasks, "_PAUSE", 0.0)

    def refuse(task: int) -> int:
        raise OSError("no route to host")

    (outcome,) = in_process(refuse, [0], 1)
    assert isinstance(outcome.error, el.EntropylabError)
    assert "3 attempts: no route to host" in str(outcome.error)


def test_processes_start_only_where_they_are_worth_it():
    started = list(Processes(2, worth=100)(lambda x: x, [1], 5))  # a lambda cannot be sent to a process
    assert values(started) == {0: 1}


def test_a_script_without_a_guard_can_use_processes(recorded, tmp_path):
    """Workers do not run the script of their parent again."""
    script = tmp_path / "script.py"
    script.write_text(
        "import entropylab as el\n"
        f"run = el.open_run({str(recorded.path)!r})\n"
        "print(el.summarize_run(run, recompute=True, workers=2).computed)\n"
    )
    shutil.rmtree(recorded.path / "cache", ignore_errors=True)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "6\n"), done.stderr


def test_engines_by_name_and_wrong_settings():
    assert engine_of("local", workers=1) is in_process
    assert engine_of("local", workers=8, memory=1 << 20).workers == 1
    assert workers_within(0) == 1
    for name, settings, error in [
        ("spark", {}, UnknownNameError),
        ("local", {"workers": 0}, InvalidInputError),
        ("local", {"address": "auto"}, InvalidInputError),
        ("ray", {"memory": 1}, InvalidInputError),
    ]:
        with pytest.raises(error):
            engine_of(name, **settings)


def test_ray_missing_is_one_clear_error(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"entropylab-rl\[ray\]"):
        list(engine_of("ray")(work.square, [1], 1))


@pytest.mark.long
def test_a_replay_is_the_same_over_every_engine(recorded, engines):
    alone = el.replay(recorded, "kl_cov_7b").to_dict()
    for engine in engines.values():
        assert el.replay(recorded, "kl_cov_7b", engine=engine).to_dict() == alone
