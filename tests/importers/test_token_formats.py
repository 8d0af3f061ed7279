"""Every number of a dump is the number in the run."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow as pa
import pytest
from foreign_dumps import miles, nemo_rl, prime_rl_exports, prime_rl_traces

import entropylab as el
from entropylab.importers.faults import MalformedRecordError, UnrecognizedSourceError
from entropylab.importers.importing import import_run


def tokens(path):
    return pa.Table.from_batches(list(el.open_run(path).tokens())).to_pandas()


def responses(path):
    return pa.Table.from_batches(list(el.open_run(path).responses())).to_pandas()


def check_equal(path, truth):
    frame = tokens(path)
    for name, values in truth.items():
        if name != "mask":
            np.testing.assert_array_equal(frame[name].to_numpy(), values.astype(frame[name].dtype), name)


def check_covariance(path):
    """Centred over all tokens of the step, whatever rank or file they were in."""
    for _, part in tokens(path).groupby("step"):
        l, a = part["logprob"].to_numpy(np.float64), part["advantage"].to_numpy(np.float64)
        np.testing.assert_allclose(part["covariance"], (l - l.mean()) * (a - a.mean()), rtol=1e-5, atol=1e-6)


def test_prime_rl_exports(tmp_path):
    truth = prime_rl_exports(tmp_path / "dump")
    report = import_run("prime-rl", tmp_path / "dump", tmp_path / "run", strict=True, method="baseline")
    assert (report.steps, report.responses, report.tokens) == (3, 24, len(truth["logprob"]))
    assert report.missing == ("log-probabilities of the reference policy", "rewards", "evaluations")
    check_equal(tmp_path / "run", truth)
    check_covariance(tmp_path / "run")
    run = el.open_run(tmp_path / "run")
    assert (run.problems(), run.method, run.info["covariance_set"]) == ([], "baseline", "update")
    assert run.config["imported"]["format"] == "prime-rl"
    frame = tokens(run.path)
    assert frame["clipped"].any()
    assert not frame["clipped"].all()
    assert frame["position"].min() == 0
    assert frame["reward"].isna().all()
    assert run.steps()["entropy_token_mean"].notna().all()


def test_prime_rl_step_without_stable_is_left_out(tmp_path):
    prime_rl_exports(tmp_path / "dump")
    (tmp_path / "dump" / "token_exports" / "step_3" / "STABLE").unlink()
    report = import_run("prime-rl", tmp_path / "dump", tmp_path / "run")
    assert (report.steps, report.n_faults) == (2, 1)
    assert "step_3: no STABLE" in report.faults[0]


def change_line(path, number, change):
    rows = path.read_text().splitlines()
    record = json.loads(rows[number - 1])
    change(record)
    rows[number - 1] = json.dumps(record)
    path.write_text("\n".join(rows) + "\n")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.pop("trainer_logprobs"), "'trainer_logprobs' is missing"),
        (lambda r: r.update(schema_version=2), "schema_version 2"),
        (lambda r: r.update(step=9), "step 9 in the folder of step 2"),
        (lambda r: r["advantages"].pop(), "advantages has 9 values, 10 are needed"),
        (lambda r: r["token_ids"].__setitem__(4, -1), "token_ids must hold whole numbers"),
        (lambda r: r["token_ids"].__setitem__(4, 1.5), "token_ids must hold whole numbers"),
        (lambda r: r["entropy"].__setitem__(4, "high"), "entropy must hold numbers"),
        (lambda r: r["loss_mask"].__setitem__(4, 2), "loss_mask must hold true/false"),
        (lambda r: r.update(loss_mask=[False] * 10), "no token inside loss_mask"),
        (lambda r: r.update(trainer_logprobs=[None] * 10), "no token of the response has a finite"),
        (lambda r: r.update(token_ids=7), "token_ids must be a list"),
    ],
)
def test_a_broken_record_is_named_by_file_and_line(tmp_path, change, words):
    prime_rl_exports(tmp_path / "dump")
    path = tmp_path / "dump" / "token_exports" / "step_2" / "rank_1.jsonl"
    change_line(path, 3, change)
    report = import_run("prime-rl", tmp_path / "dump", tmp_path / "run")
    assert (report.n_faults, report.responses) == (1, 23)
    assert report.faults[0].startswith(f"{path}, line 3: ")
    assert words in report.faults[0]
    with pytest.raises(MalformedRecordError, match=r"rank_1\.jsonl, line 3"):
        import_run("prime-rl", tmp_path / "dump", tmp_path / "strict", strict=True)
    assert not (tmp_path / "strict").exists()


def test_a_token_without_a_logprob_is_left_out_and_said(tmp_path):
    prime_rl_exports(tmp_path / "dump")
    path = tmp_path / "dump" / "token_exports" / "step_1" / "rank_0.jsonl"
    change_line(path, 1, lambda r: r["trainer_logprobs"].__setitem__(3, None))
    report = import_run("prime-rl", tmp_path / "dump", tmp_path / "run")
    assert "1 of" in report.faults[0]
    assert "left out" in report.faults[0]
    frame = tokens(tmp_path / "run")
    assert np.isfinite(frame["covariance"]).all()
    assert frame["position"].iloc[0] == 1


@pytest.mark.parametrize("chunked", [True, False])
def test_prime_rl_traces(tmp_path, chunked):
    truth = prime_rl_traces(tmp_path / "dump", chunked=chunked)
    report = import_run("prime-rl", tmp_path / "dump", tmp_path / "run", strict=True)
    assert (report.steps, report.responses, report.evaluations) == (3, 12, 3)
    check_equal(tmp_path / "run", truth)
    check_covariance(tmp_path / "run")
    rows = responses(tmp_path / "run")
    assert rows["text"].tolist()[:4] == ["Answer 0", "Answer 1", "Answer 2", "Answer 3"]
    np.testing.assert_allclose(rows["reward"][:4], [0.1, 1.1, 0.1, 1.1], rtol=1e-6)
    assert rows["prompt_id"].nunique() == 6
    scores = el.open_run(tmp_path / "run").evaluations()
    assert scores["metric"].unique().tolist() == ["reward"]
    np.testing.assert_allclose(scores["value"], 1.1)
    assert json.loads((tmp_path / "run" / "import.json").read_text())["notes"] == {"untrained_rollouts": 3}
    assert not (tmp_path / "run" / "scratch").exists()


def test_prime_rl_traces_from_sealed_chunks(tmp_path):
    truth = prime_rl_traces(tmp_path / "dump")
    for plain in (tmp_path / "dump").rglob("00000.jsonl"):
        with pa.CompressedOutputStream(f"{plain}.zst", "zstd") as packed:
            packed.write(plain.read_bytes())
        plain.unlink()
    import_run("prime-rl", tmp_path / "dump", tmp_path / "run", strict=True)
    check_equal(tmp_path / "run", truth)


def test_a_chunk_in_seekable_frames_reads_whole(fixtures, tmp_path):
    from entropylab.importers.faults import Faults
    from entropylab.importers.streams import addressed

    path = fixtures / "sealed" / "00000.jsonl.zst"
    found = list(addressed(path, tmp_path, Faults(strict=True)))
    assert [record["number"] for _, record in found] == list(range(500))
    assert [address.load()["number"] for address, _ in found[::50]] == list(range(0, 500, 50))


def test_a_torn_chunk_is_a_fault(fixtures, tmp_path):
    from entropylab.importers.faults import Faults
    from entropylab.importers.streams import addressed

    torn = tmp_path / "00000.jsonl.zst"
    torn.write_bytes((fixtures / "sealed" / "00000.jsonl.zst").read_bytes()[:1500])
    faults = Faults()
    found = list(addressed(torn, tmp_path / "scratch", faults))
    assert len(found) < 500
    assert "damaged or truncated" in faults.texts[0]


def test_traces_with_branches_train_each_branch_once(tmp_path):
    """A prompt with two answers: two leaves, the shared prompt is of both, its tokens are trained in none."""
    prompt = {"parent": None, "token_ids": [1, 2], "mask": [False, False], "logprobs": []}
    answers = [
        {"parent": 0, "token_ids": [3, 4 + i], "mask": [True, True], "logprobs": [-1.0, -2.0 - i]}
        for i in (0, 1)
    ]
    trace = {"id": "t", "nodes": [prompt, *answers], "info": {"kind": "train", "advantage": 2.0}}
    traces = tmp_path / "dump" / "traces"
    for folder in (traces / "stream", traces / "annotations" / "trainer"):
        folder.mkdir(parents=True)
    (traces / "stream" / "00000.jsonl").write_text(json.dumps({"traces": [trace]}) + "\n")
    streams = [
        {"index": i, "trainer_logprobs": [None, None, -1.5, -2.5 - i], "entropies": [None, None, 0.1, 0.2]}
        for i in (0, 1)
    ]
    update = {"version": 1, "trace_id": "t", "info": {"train": {"trained_at_step": 5}}, "branches": streams}
    (traces / "annotations" / "trainer" / "00000.jsonl").write_text(json.dumps(update) + "\n")
    import_run("prime-rl", tmp_path / "dump", tmp_path / "run", strict=True)
    frame = tokens(tmp_path / "run")
    assert frame["step"].unique().tolist() == [5]
    assert frame["token_id"].tolist() == [3, 4, 3, 5]
    assert frame["logprob"].tolist() == [-1.5, -2.5, -1.5, -3.5]
    assert frame["old_logprob"].tolist() == [-1.0, -2.0, -1.0, -3.0]
    assert frame["advantage"].tolist() == [2.0] * 4
    assert frame["sample_id"].nunique() == 2


def test_two_prime_rl_runs_below_one_folder_are_refused(tmp_path):
    for name in ("a", "b"):
        prime_rl_traces(tmp_path / "dumps" / name)
    with pytest.raises(UnrecognizedSourceError, match="several runs"):
        import_run("prime-rl", tmp_path / "dumps", tmp_path / "run")


@pytest.mark.parametrize(
    ("ranks", "copies", "padded"),
    [(1, 1, None), (1, 2, None), (2, 1, None), (3, 2, None), (4, 1, None), (2, 2, 64)],
)
def test_miles(tmp_path, ranks, copies, padded):
    pytest.importorskip("torch")
    truth = miles(tmp_path / "dump", ranks=ranks, copies=copies, padded=padded)
    report = import_run("miles", tmp_path / "dump", tmp_path / "run", strict=True)
    assert (report.steps, report.responses) == (2, 8)
    check_equal(tmp_path / "run", truth)
    check_covariance(tmp_path / "run")
    assert responses(tmp_path / "run")["reward"].tolist() == [0.0, 1.0, 0.0, 1.0] * 2


def test_miles_without_a_rank_names_what_is_missing(tmp_path):
    pytest.importorskip("torch")
    miles(tmp_path / "dump", ranks=3)
    (tmp_path / "dump" / "train_data" / "1_2.pt").unlink()
    report = import_run("miles", tmp_path / "dump", tmp_path / "run")
    assert (report.steps, report.n_faults) == (1, 4)
    assert "context-parallel ranks [2] of 3 are missing" in report.faults[0]
    assert "1_0.pt, sample 4" in report.faults[0]


class Harm:
    """A pickle that would create a file when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_miles_files_run_nothing(tmp_path):
    torch = pytest.importorskip("torch")
    miles(tmp_path / "dump")
    path = tmp_path / "dump" / "train_data" / "0_0.pt"
    content = torch.load(path, weights_only=True)
    content["rollout_data"]["extra"] = Harm(tmp_path / "executed")
    torch.save(content, path)
    report = import_run("miles", tmp_path / "dump", tmp_path / "run")
    assert not (tmp_path / "executed").exists()
    assert (report.steps, report.n_faults) == (1, 1)
    assert "more than tensors and plain values" in report.faults[0]


def test_miles_rollout_dumps_give_texts_rewards_and_evaluations(tmp_path):
    torch = pytest.importorskip("torch")
    miles(tmp_path / "dump", steps=1, ranks=1)
    samples = [
        {"index": i, "group_index": i // 2, "response": f"answer {i}", "reward": float(i)}
        for i in (3, 2, 1, 0)
    ]
    folder = tmp_path / "dump" / "rollout_data"
    folder.mkdir()
    torch.save({"rollout_id": 0, "samples": samples, "metadata": {}}, folder / "0.pt")
    torch.save({"rollout_id": 0, "samples": samples, "metadata": {}}, folder / "eval_0.pt")
    import_run("miles", tmp_path / "dump", tmp_path / "run", strict=True)
    rows = responses(tmp_path / "run")
    assert rows["text"].tolist() == [f"answer {i}" for i in range(4)]
    assert rows["reward"].tolist() == [1.0, 0.0, 1.0, 0.0]  # raw_reward is in the order of the rollout dump
    scores = el.open_run(tmp_path / "run").evaluations()
    assert scores[["metric", "value", "n"]].to_numpy().tolist() == [["reward", 1.5, 2]]


def test_nemo_rl(tmp_path):
    truth = nemo_rl(tmp_path / "dump" / "logs" / "exp_001")
    report = import_run("nemo-rl", tmp_path / "dump", tmp_path / "run", strict=True)
    assert (report.steps, report.responses) == (3, 9)
    assert "entropies" in report.missing
    del truth["entropy"]
    check_equal(tmp_path / "run", truth)
    check_covariance(tmp_path / "run")
    run = el.open_run(tmp_path / "run")
    assert run.steps()["metrics/masked_samples"].tolist() == [1.0] * 3
    assert run.steps()["entropy_token_mean"].isna().all()
    assert run.problems() == []


def test_every_rank_of_a_step_is_one_token_set(tmp_path):
    """The covariance does not change when the same sequences lie in one file instead of two."""
    prime_rl_exports(tmp_path / "two")
    shutil.copytree(tmp_path / "two", tmp_path / "one")
    for folder in (tmp_path / "one" / "token_exports").iterdir():
        second = folder / "rank_1.jsonl"
        with open(folder / "rank_0.jsonl", "a") as file:
            file.write(second.read_text())
        second.unlink()
    for name in ("one", "two"):
        import_run("prime-rl", tmp_path / name, tmp_path / f"run-{name}")
    one, two = tokens(tmp_path / "run-one"), tokens(tmp_path / "run-two")
    np.testing.assert_array_equal(one["covariance"], two["covariance"])
