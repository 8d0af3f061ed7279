"""SQL sees the rows that count, and nothing else; it changes nothing."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

import entropylab as el
from entropylab.cli.main import app
from entropylab.errors import InvalidInputError, RunFormatError
from entropylab.record.compaction import compact_run
from entropylab.record.sql import query

pytest.importorskip("duckdb")


@pytest.fixture
def run(make_run, tmp_path):
    return make_run(tmp_path / "r", steps=5, prompts=6, group=4)


def rows_of(batches) -> pd.DataFrame:
    return pa.Table.from_batches(list(batches)).to_pandas()


def test_the_views_are_what_the_reader_gives(run):
    everything = "select * exclude run from {} order by all"
    for name, frame in (
        ("tokens", rows_of(run.tokens())),
        ("responses", rows_of(run.responses())),
        ("evaluations", run.evaluations()),
    ):
        found = run.sql(everything.format(name))
        expected = frame.sort_values(list(frame.columns), ignore_index=True)
        assert len(found) == len(frame)
        pd.testing.assert_frame_equal(
            found[["step"]], expected[["step"]].astype(found["step"].dtype), check_exact=True
        )
    steps = run.sql("select * exclude run from steps order by step")
    pd.testing.assert_frame_equal(steps, run.steps(), check_dtype=False, check_exact=True)


def test_sums_are_those_of_the_summaries(run):
    found = run.sql(
        "select step, count(*) n, avg(covariance::double) c from tokens group by step order by step"
    )
    steps = run.steps()
    assert found["n"].tolist() == steps["n_tokens"].tolist()
    assert found["c"].to_numpy() == pytest.approx(steps["covariance_mean"].to_numpy(), rel=1e-6, abs=1e-9)


def test_rows_that_a_restart_superseded_do_not_count(make_run, tmp_path, batch):
    folder = tmp_path / "again"
    for attempt in (1, 2):
        with el.Recorder(folder, method="baseline") as recorder:
            for step in range(3) if attempt == 1 else range(2, 4):
                recorder.record(step, **batch(step + 10 * attempt))
        if attempt == 1:
            compact_run(folder)
    run = el.open_run(folder)
    assert any(file.keys is not None for file in run.row_files())
    assert run.sql("select count(*) n from tokens")["n"][0] == len(rows_of(run.tokens()))
    found = run.sql("select logprob from tokens order by step, sample_id, position")["logprob"]
    expected = rows_of(run.tokens()).sort_values(["step", "sample_id", "position"])["logprob"]
    assert found.tolist() == expected.tolist()


def test_several_runs_have_their_names(run, make_run, tmp_path):
    other = make_run(tmp_path / "o", steps=2, prompts=4, group=2, seed=1)
    found = query(
        [("a", run), ("b's", other)], "select run, count(*) n from tokens group by run order by run"
    )
    assert found.to_pylist() == [
        {"run": "a", "n": int(run.steps()["n_tokens"].sum())},
        {"run": "b's", "n": int(other.steps()["n_tokens"].sum())},
    ]


def test_a_run_without_rows_has_empty_views(tmp_path):
    with el.Recorder(tmp_path / "bare", method="baseline") as recorder:
        recorder.evaluate(0, metric="accuracy", value=0.5, n=10)
    run = el.open_run(tmp_path / "bare")
    assert run.sql("select count(*) n from tokens")["n"][0] == 0
    assert run.sql("select value from evaluations")["value"].tolist() == [0.5]


@pytest.mark.parametrize(
    "text",
    [
        "copy tokens to '/tmp/entropylab-x.csv'",
        "select 1; select 2",
        "drop view tokens",
        "pragma database_list",
        "",
        "select * from nope",
        "select * from read_csv('/etc/passwd')",
        "select * from read_text('{folder}/_run.json')",
        "selec",
    ],
)
def test_anything_else_is_refused_by_name(run, text):
    with pytest.raises(InvalidInputError, match="sql"):
        run.sql(text.format(folder=run.path))


def test_a_damaged_file_is_named(run):
    path = run.row_files()[0].path
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunFormatError, match=path.name):
        run.sql("select count(*) from tokens")


def test_an_object_store(batch):
    url = "memory://sql-test"
    with el.Recorder(url, method="baseline") as recorder:
        recorder.record(0, **batch(3))
    run = el.open_run(url)
    assert run.sql("select count(*) n from tokens")["n"][0] == len(rows_of(run.tokens()))


def test_files_as_other_engines_read_them(run):
    frame = pd.concat([pd.read_parquet(file.path) for file in run.row_files()])
    assert len(frame) == int(run.steps()["n_tokens"].sum())
    polars = pytest.importorskip("polars")
    lazy = polars.scan_parquet([str(file.path) for file in run.row_files()])
    by_step = lazy.group_by("step").agg(polars.len().alias("n")).sort("step").collect()
    assert by_step["n"].to_list() == run.steps()["n_tokens"].tolist()


def test_the_command(run, tmp_path):
    asked = ["sql", str(run.path), "select step, count(*) n from tokens group by step order by step"]
    shown = CliRunner().invoke(app, asked)
    assert shown.exit_code == 0
    assert "5 rows" in shown.stdout
    target = tmp_path / "out.parquet"
    assert CliRunner().invoke(app, [*asked, "-o", str(target)]).exit_code == 0
    assert pd.read_parquet(target)["n"].tolist() == run.steps()["n_tokens"].tolist()
    assert CliRunner().invoke(app, [*asked, "-o", str(tmp_path / "out.txt")]).exit_code == 2
    assert '"n": ' in CliRunner().invoke(app, [*asked, "--json"]).stdout
