"""A restarted rank goes on as a new attempt, whose history wins from its first step on."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

import entropylab as el


def write(path, batch, steps, seed=0, evaluate=True, **settings):
    with el.Recorder(path, **settings) as recorder:
        for step in steps:
            recorder.record(step, **batch(100 * seed + step))
            if evaluate:
                recorder.evaluate(step, value=seed + step / 10, n=5)
        return recorder.attempt


def test_a_second_attempt_supersedes_from_its_first_step(tmp_path, batch, reference):
    assert write(tmp_path / "r", batch, range(5), config={"lr": 1}) == 1
    first = el.open_run(tmp_path / "r")
    assert write(tmp_path / "r", batch, range(3, 8), seed=2, config={"lr": 2}) == 2
    run = el.open_run(tmp_path / "r")
    frame = run.steps()
    assert frame["step"].tolist() == list(range(8))
    for step, seed in ((2, 0), (3, 2), (4, 2), (7, 2)):
        expected = reference([batch(100 * seed + step)])["logprob_mean"]
        assert frame["logprob_mean"][step] == pytest.approx(expected, rel=1e-12)
    ids = {b["sample_id"][0].as_py() // 1000 for b in run.tokens()}
    assert ids == {0, 1, 2, 203, 204, 205, 206, 207}
    values = run.evaluations().set_index("step")["value"].to_dict()
    assert values == {s: pytest.approx((2 if s >= 3 else 0) + s / 10) for s in range(8)}
    assert (run.id, run.info["created"]) == (first.id, first.info["created"])
    assert run.config == {"lr": 2}
    assert [(a["attempt"], a["config"]) for a in run.info["attempts"]] == [(1, {"lr": 1}), (2, {"lr": 2})]
    problems = run.problems()
    assert {p.kind for p in problems} == {"superseded"}
    assert any("attempt 1: steps 3 to 4" in p.message for p in problems)


def test_an_attempt_that_goes_on_where_the_last_ended_is_no_problem(tmp_path, batch):
    write(tmp_path / "r", batch, range(3))
    write(tmp_path / "r", batch, range(3, 6))
    run = el.open_run(tmp_path / "r")
    assert run.problems() == []
    assert run.steps()["step"].tolist() == list(range(6))


def test_a_later_evaluation_replaces_only_its_own_key(tmp_path, batch):
    write(tmp_path / "r", batch, range(3))
    with el.Recorder(tmp_path / "r") as recorder:
        recorder.evaluate(1, value=0.9, n=5)
        recorder.evaluate(2, split="test", value=0.8, n=5)
    frame = el.open_run(tmp_path / "r").evaluations()
    assert frame["value"].tolist() == [0.0, 0.9, 0.8, pytest.approx(0.2)]


def test_third_attempt_and_numbers_of_other_ranks_do_not_count(tmp_path, batch):
    for _ in range(2):
        write(tmp_path / "r", batch, range(2), rank=0, world_size=2, evaluate=False)
    assert write(tmp_path / "r", batch, range(2), rank=1, world_size=2, evaluate=False) == 1
    assert write(tmp_path / "r", batch, [2], rank=0, world_size=2, evaluate=False) == 3


def test_a_restart_with_fewer_ranks_supersedes_the_ranks_that_are_gone(tmp_path, batch):
    for rank in range(3):
        write(tmp_path / "r", batch, range(4), seed=rank, rank=rank, world_size=3, evaluate=False)
    for rank in range(2):
        write(tmp_path / "r", batch, [2], seed=5 + rank, rank=rank, world_size=2, evaluate=False)
    run = el.open_run(tmp_path / "r")
    assert run.steps()[["step", "n_ranks"]].to_numpy().tolist() == [[0, 3], [1, 3], [2, 2]]
    assert {p.kind for p in run.problems()} == {"superseded"}
    ids = pa.Table.from_batches(list(run.tokens(steps=2)))["sample_id"].to_numpy() // 1000
    assert set(ids) == {502, 602}


def test_ranks_of_two_histories_are_never_mixed(tmp_path, batch):
    for rank in range(2):
        write(tmp_path / "r", batch, range(4), seed=rank, rank=rank, world_size=2, evaluate=False)
    write(tmp_path / "r", batch, [2], seed=5, rank=0, world_size=2, evaluate=False)
    run = el.open_run(tmp_path / "r")
    assert run.steps()["step"].tolist() == [0, 1]
    assert {p.kind for p in run.problems()} == {"superseded", "missing_ranks"}


def test_a_foreign_run_file_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "_run.json"
    path.write_text('{"project": "something else"}')
    with pytest.raises(el.EntropylabError, match=r"_run\.json: a JSON file that entropylab did not write"):
        el.Recorder(tmp_path)
    assert path.read_text() == '{"project": "something else"}'
    assert [p.name for p in tmp_path.iterdir()] == ["_run.json"]


def test_a_newer_format_is_refused(tmp_path, batch):
    write(tmp_path / "r", batch, [0])
    path = tmp_path / "r/_run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "entropylab_format": 2}))
    with pytest.raises(el.EntropylabError, match=r"format 2, this version reads up to 1.*upgrade"):
        el.Recorder(tmp_path / "r")
    with pytest.raises(el.EntropylabError, match="format 2"):
        el.open_run(tmp_path / "r")


def test_what_the_run_file_holds(tmp_path):
    config = {"lr": 1e-3, "sizes": (1, 2), "control": None, "nested": {"on": True}}
    sampling = el.TokenSampling(every_steps=3, response_fraction=0.5, seed=9)
    el.Recorder(tmp_path / "r", config=config, method="kl_cov", parent="abc", token_sampling=sampling).close()
    run = el.open_run(str(tmp_path / "r"))
    assert run.config == {"lr": 1e-3, "sizes": [1, 2], "control": None, "nested": {"on": True}}
    assert (run.name, run.method, run.info["parent"]) == ("r", "kl_cov", "abc")
    assert el.TokenSampling(**run.info["token_sampling"]) == sampling
    assert {"python", "entropylab", "numpy", "pyarrow"} <= set(run.info["software"])
    assert run.info["created"].endswith("+00:00")
    assert run.info["world_size"] == 1
    el.Recorder(tmp_path / "s").close()
    other = el.open_run((tmp_path / "s").as_uri())
    assert (other.method, other.config) == ("unknown", {})
    assert other.id != run.id
