from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from entropylab.cli import dashboard, doctor
from entropylab.cli.dashboard import find_app, streamlit_command
from entropylab.errors import RunNotFoundError

SCRIPT = Path(sys.executable).with_name("entropylab")


def entropylab(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *arguments], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def test_doctor_says_what_is_missing_and_exits_accordingly():
    done = entropylab("doctor", "--json", OMP_NUM_THREADS="1")
    document = json.loads(done.stdout)
    assert document["command"] == "doctor"
    assert {"python", "numpy", "torch", "streamlit", "torch threads", "dashboard"} <= {
        check["name"] for check in document["checks"]
    }
    assert done.returncode == (0 if all(check["fine"] for check in document["checks"]) else 1)
    assert all(check["mend"] for check in document["checks"] if not check["fine"])


def test_doctor_names_more_threads_than_cores():
    done = entropylab("doctor", "--json", OMP_NUM_THREADS=str(doctor.usable_cores() + 3))
    threads = next(c for c in json.loads(done.stdout)["checks"] if c["name"] == "torch threads")
    assert not threads["fine"]
    assert "OMP_NUM_THREADS" in threads["mend"]
    assert done.returncode == 1


def test_doctor_table_fits_80_columns():
    done = entropylab("doctor", OMP_NUM_THREADS="1")
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_missing_package_names_the_command_that_mends_it():
    check = doctor._package("no-such-package-here", "pip install 'entropylab-rl[app]'")
    assert not check.fine
    assert "entropylab-rl[app]" in check.mend


def test_doctor_lists_the_data_problems_of_runs(make_run, tmp_path):
    make_run(tmp_path / "run", steps=2, prompts=4)
    (tmp_path / "run" / "tokens" / "step-000001" / "rank-0000-a1.parquet").write_bytes(b"cut")
    done = entropylab("doctor", str(tmp_path), "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["runs"][0]["problems"]


def test_the_app_is_found_beside_the_package_in_a_checkout_and_inside_it_in_a_wheel(tmp_path):
    package = tmp_path / "entropylab"
    package.mkdir()
    with pytest.raises(RunNotFoundError, match="install entropylab-rl again"):
        find_app(package)
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").touch()
    assert find_app(package) == tmp_path / "app" / "main.py"
    (package / "_app").mkdir()
    (package / "_app" / "main.py").touch()
    assert find_app(package) == package / "_app" / "main.py"


def test_the_server_sends_no_usage_statistics_and_listens_on_this_machine_only():
    command = streamlit_command(Path("main.py"), port=8600, headless=True, address="127.0.0.1")
    options = dict(zip(command[5::2], command[6::2], strict=True))
    assert options["--browser.gatherUsageStats"] == "false"
    assert options["--server.port"] == "8600"
    assert options["--server.headless"] == "true"
    assert options["--server.address"] == "127.0.0.1"


def test_a_missing_folder_is_wrong_use(tmp_path):
    done = entropylab("dashboard", str(tmp_path / "nowhere"))
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_streamlit_the_command_that_installs_it_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(dashboard.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"entropylab-rl\[app\]"):
        dashboard.command([str(tmp_path)])


def test_the_paths_reach_the_server_as_an_environment_variable(monkeypatch, tmp_path):
    """The server process is replaced by one that prints what it was given."""
    app = tmp_path / "main.py"
    app.touch()
    monkeypatch.setattr(dashboard, "find_app", lambda: app)
    seen = {}
    monkeypatch.setattr(dashboard, "_run", lambda arguments, environment: seen.update(environment))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    dashboard.command([str(tmp_path / "a"), str(tmp_path / "b")])
    assert seen["ENTROPYLAB_PATHS"].split(os.pathsep) == [str(tmp_path / "a"), str(tmp_path / "b")]
