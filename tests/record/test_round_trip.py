"""Every column on disk equals what was given; the recorder keeps copies of arrays and tensors of any kind."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import entropylab as el
from entropylab.schema import FORMAT_KEY, RESPONSE_COLUMNS, TOKEN_COLUMNS, arrow_schema


def table(batches) -> pd.DataFrame:
    return pa.Table.from_batches(list(batches)).to_pandas()


def write(path, records):
    with el.Recorder(path) as recorder:
        for step, given in records:
            recorder.record(step, **given)
    return el.open_run(path)


def expected_tokens(b: dict, step: int, update: int = 0, micro_step: int = 0) -> pd.DataFrame:
    rows, position = np.nonzero(b["mask"])
    columns = {"step": step, "update": update, "micro_step": micro_step, "rollout": 7, "rank": 0}
    columns |= {"sample_id": b["sample_ids"][rows], "prompt_id": b["prompt_ids"][rows], "position": position}
    per_token = {"token_id": "token_ids", "logprob": "logprobs", "old_logprob": "old_logprobs"}
    per_token |= {"ref_logprob": "ref_logprobs", "entropy": "entropy", "entropy_after": "entropy_after"}
    columns |= {name: b[source][b["mask"]] for name, source in per_token.items()}
    columns |= {
        "advantage": b["advantages"][rows],
        "reward": b["rewards"][rows],
        "influence": b["influence"][b["mask"]],
    }
    columns |= {n: b["out"].tokens[n][b["mask"]] for n in ("covariance", "selected", "clipped", "weight")}
    columns["sampling_weight"] = np.full(len(rows), np.nan, np.float32)
    return pd.DataFrame(columns)[[c.name for c in TOKEN_COLUMNS]]


def test_every_token_column(tmp_path, batch):
    records = [(s, batch(10 * s + u, update=u, micro_step=1, rollout=7)) for s in (2, 5) for u in range(2)]
    run = write(tmp_path / "r", records)
    expected = pd.concat([expected_tokens(b, s, b["update"], 1) for s, b in records], ignore_index=True)
    pd.testing.assert_frame_equal(table(run.tokens()), expected, check_dtype=False, check_exact=True)
    pd.testing.assert_frame_equal(
        table(run.tokens(steps=[5])),
        expected[expected["step"] == 5].reset_index(drop=True),
        check_dtype=False,
    )
    direct = pd.read_parquet(tmp_path / "r" / "tokens")
    pd.testing.assert_frame_equal(direct, expected, check_dtype=False)
    assert run.token_steps() == [2, 5]


def test_every_response_column(tmp_path, batch):
    b = batch(0, micro_step=3)
    b["mask"][4] = False  # the loss did not use this response
    kept = np.arange(12) != 4
    found = table(write(tmp_path / "r", [(1, b)]).responses())
    expected = pd.DataFrame(
        {
            "step": 1,
            "update": 0,
            "micro_step": 3,
            "rank": 0,
            "sample_id": b["sample_ids"],
            "prompt_id": b["prompt_ids"],
        }
        | {"reward": b["rewards"], "length": b["mask"].sum(1), "text": b["texts"]}
    )[kept].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    assert list(found.columns) == [c.name for c in RESPONSE_COLUMNS]


def test_the_file_has_the_declared_schema_and_options(tmp_path, batch):
    write(tmp_path / "r", [(0, batch(0))])
    file = pq.ParquetFile(tmp_path / "r/tokens/step-000000/rank-0000-a1.parquet")
    assert file.schema_arrow.equals(arrow_schema(TOKEN_COLUMNS))
    assert file.metadata.metadata[FORMAT_KEY] == b"1"
    group = file.metadata.row_group(0)
    encodings = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert {c.compression for c in encodings.values()} == {"ZSTD"}
    for column in encodings.values():
        assert "BYTE_STREAM_SPLIT" not in column.encodings
    for name in ("logprob", "advantage", "covariance"):
        assert not any("DICTIONARY" in e for e in encodings[name].encodings)
    assert "DELTA_BINARY_PACKED" in encodings["position"].encodings


def test_chosen_columns_come_in_the_order_asked_for(tmp_path, batch):
    run = write(tmp_path / "r", [(0, batch(0))])
    found = table(run.tokens(columns=["selected", "logprob"]))
    assert list(found.columns) == ["selected", "logprob"]
    with pytest.raises(el.EntropylabError, match=r"unknown columns .* there are"):
        run.tokens(columns=["cov"])
    with pytest.raises(el.EntropylabError, match="no token rows of the steps"):
        run.tokens(steps=[0, 9])


def test_what_was_not_given_is_null_on_disk(tmp_path, batch):
    bare = {k: v for k, v in batch(0).items() if k in ("logprobs", "advantages", "mask")}
    found = pa.Table.from_batches(list(write(tmp_path / "r", [(3, bare)]).tokens()))
    for column in TOKEN_COLUMNS:
        assert found[column.name].null_count == (found.num_rows if column.nullable else 0), column.name
    assert set(found["prompt_id"].to_pylist()) == {-1}
    assert not any(found["selected"].to_pylist())


def test_default_sample_ids_are_unique_over_steps_updates_and_ranks(tmp_path, batch):
    bare = {k: v for k, v in batch(0).items() if k in ("logprobs", "advantages", "mask")}
    recorders = [el.Recorder(tmp_path / "r", rank=r, world_size=2) for r in range(2)]
    for recorder in recorders:
        for step in range(2):
            for update in range(2):
                recorder.record(step, update=update, **bare)
        recorder.close()
    responses = table(el.open_run(tmp_path / "r").responses())
    assert len(responses) == responses["sample_id"].nunique() == 2 * 2 * 2 * 12


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_torch_tensors_of_any_float_type_with_gradient(tmp_path, batch, dtype):
    torch = pytest.importorskip("torch")
    b = batch(0)
    given = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in b.items()}
    given["out"] = SimpleNamespace(tokens={k: torch.from_numpy(v) for k, v in b["out"].tokens.items()})
    leaf = given["logprobs"].to(getattr(torch, dtype)).requires_grad_()
    given["logprobs"] = leaf * 1.0
    given["metrics"] = {"loss": given["logprobs"].nansum(), "n": torch.tensor(3)}
    found = table(write(tmp_path / "r", [(0, given)]).tokens())
    np.testing.assert_array_equal(found["logprob"], leaf.detach().float().numpy()[b["mask"]])
    np.testing.assert_array_equal(found["token_id"], b["token_ids"][b["mask"]])
    np.testing.assert_array_equal(found["selected"], b["out"].tokens["selected"][b["mask"]])
    assert leaf.grad is None


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_the_recorder_does_not_alias_what_it_was_given(tmp_path, batch, kind):
    b = batch(0, mask=np.ones((12, 9), dtype=bool), out=None)
    for name in ("logprobs", "old_logprobs", "ref_logprobs", "entropy", "entropy_after", "influence"):
        b[name] = np.nan_to_num(b[name], nan=-0.5)
    given = dict(b)
    if kind == "torch":
        torch = pytest.importorskip("torch")
        given = {k: torch.from_numpy(v.copy()) if isinstance(v, np.ndarray) else v for k, v in b.items()}
    else:
        given = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in b.items()}
    with el.Recorder(tmp_path / "r") as recorder:
        recorder.record(0, **given)
        for value in given.values():
            if hasattr(value, "shape"):
                value[...] = 0
        given["texts"][:] = [""] * 12
    found = table(el.open_run(tmp_path / "r").tokens())
    for name, source in (("logprob", "logprobs"), ("old_logprob", "old_logprobs"), ("entropy", "entropy")):
        np.testing.assert_array_equal(found[name], b[source].ravel())
    np.testing.assert_array_equal(found["advantage"], np.repeat(b["advantages"], 9))
    np.testing.assert_array_equal(found["sample_id"], np.repeat(b["sample_ids"], 9))
    np.testing.assert_array_equal(found["token_id"], b["token_ids"].ravel())
    assert table(el.open_run(tmp_path / "r").responses())["reward"].tolist() == b["rewards"].tolist()


def test_advantages_of_tokens(tmp_path, batch):
    b = batch(0)
    b["advantages"] = np.arange(108, dtype=np.float32).reshape(12, 9)
    found = table(write(tmp_path / "r", [(0, b)]).tokens())
    np.testing.assert_array_equal(found["advantage"], b["advantages"][b["mask"]])


def test_rewards_broadcast_over_tokens_are_the_rewards_of_the_responses(tmp_path, batch):
    b = batch(0)
    b["rewards"] = np.where(b["mask"], b["rewards"][:, None], np.nan)
    found = table(write(tmp_path / "r", [(0, b)]).responses())
    assert found["reward"].tolist() == batch(0)["rewards"].tolist()


def test_rewards_of_tokens_are_summed_over_the_response(tmp_path, batch):
    b = batch(0)
    last = b["mask"].sum(1) - 1
    b["rewards"] = np.zeros((12, 9))
    b["rewards"][np.arange(12), last] = np.arange(12.0)
    run = write(tmp_path / "r", [(0, b)])
    assert table(run.responses())["reward"].tolist() == list(range(12))
    tokens = table(run.tokens())
    assert (tokens["reward"] == tokens["sample_id"]).all()


def test_a_mask_of_zeros_and_ones_and_one_response(tmp_path, batch):
    b = batch(0, rows=1, length=4)
    run = write(tmp_path / "r", [(0, {**b, "mask": b["mask"].astype(np.float32)})])
    assert len(table(run.tokens())) == b["mask"].sum()


def test_evaluations_in_long_form(tmp_path):
    with el.Recorder(tmp_path / "r") as recorder:
        recorder.evaluate(2, metric="pass@8", value=0.5, n=40)
        recorder.evaluate(0, value=np.float32(0.25), n=np.int64(40))
        recorder.evaluate(2, split="test", metric="math/avg@32, T=0.6", value=0.125, n=30)
        recorder.evaluate(2, metric="pass@8", value=0.75, n=40)
    frame = el.open_run(tmp_path / "r").evaluations()
    assert frame.to_dict("list") == {
        "step": [0, 2, 2],
        "split": ["validation", "test", "validation"],
        "metric": ["accuracy", "math/avg@32, T=0.6", "pass@8"],
        "value": [0.25, 0.125, 0.75],
        "n": [40, 30, 40],
    }
