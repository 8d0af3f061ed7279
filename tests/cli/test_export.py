"""``entropylab export``: every table of a run as one file."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

import entropylab as el
from entropylab.cli.main import app
from entropylab.record.table_names import TableName


@pytest.fixture(scope="module")
def run(make_run, tmp_path_factory):
    """Treat as read-only."""
    return make_run(tmp_path_factory.mktemp("export") / "r", steps=4, prompts=5, group=3, world_size=2)


def expected(run, table: TableName) -> pd.DataFrame:
    if table in (TableName.TOKENS, TableName.RESPONSES):
        return pa.Table.from_batches(list(getattr(run, table)())).to_pandas()
    return getattr(run, table)()


@pytest.mark.parametrize("table", TableName)
@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_table_as_one_file(run, tmp_path, table, form):
    out = tmp_path / f"out.{form}"
    done = CliRunner().invoke(app, ["export", str(run.path), "--table", table, "-o", str(out), "--json"])
    assert done.exit_code == 0, done.output
    frame = expected(run, table)
    assert json.loads(done.stdout)["runs"][0]["rows"] == len(frame)
    found = pd.read_parquet(out) if form == "parquet" else pd.read_csv(out)
    assert found.columns.tolist() == frame.columns.tolist()
    if form == "parquet":
        pd.testing.assert_frame_equal(found, frame, check_exact=True, check_dtype=False)
    else:
        numbers = frame.select_dtypes("number").columns
        pd.testing.assert_frame_equal(found[numbers], frame[numbers], check_dtype=False, rtol=1e-6)


def test_the_format_may_be_named(run, tmp_path):
    out = tmp_path / "tokens.data"
    asked = ["export", str(run.path), "-o", str(out)]
    assert CliRunner().invoke(app, asked).exit_code == 2
    assert not out.exists()
    assert CliRunner().invoke(app, [*asked, "--format", "parquet"]).exit_code == 0
    assert len(pd.read_parquet(out)) == run.steps()["n_tokens"].sum()


def test_a_damaged_row_file_leaves_no_half_written_file(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "r")
    run = el.open_run(tmp_path / "r")
    path = run.row_files()[-1].path
    path.write_bytes(path.read_bytes()[:200])
    out = tmp_path / "tokens.parquet"
    done = CliRunner().invoke(app, ["export", str(run.path), "-o", str(out)])
    assert done.exit_code == 2
    assert path.name in done.output
    assert list(tmp_path.glob("*tokens*")) == []
