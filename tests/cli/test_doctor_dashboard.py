from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from entropylab.cli import dashboard, doctor
from entropylab.cli.dashboard import find_app, streamlit_command
from entropylab.cli.main import app
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


def test_more_threads_than_cores_are_a_finding():
    assert doctor.thread_check(2, 2).fine
    check = doctor.thread_check(8, 2)
    assert not check.fine
    assert "OMP_NUM_THREADS" in check.mend


def test_a_containers_quota_counts_as_cores(tmp_path):
    quota = tmp_path / "cpu.max"
    quota.write_text("100000 100000\n")
    assert doctor.usable_cores(quota) == 1
    for text in ("max 100000", "", "no numbers"):
        quota.write_text(text)
        assert doctor.usable_cores(quota) == doctor.usable_cores(tmp_path / "absent")


def test_doctor_table_fits_80_columns():
    done = CliRunner().invoke(app, ["doctor"], env={"OMP_NUM_THREADS": "1"})
    assert done.exit_code in (0, 1)
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_missing_package_names_the_command_that_mends_it():
    check = doctor._package("no-such-package-here", "pip install 'entropylab-rl[app]'")
    assert not check.fine
    assert "entropylab-rl[app]" in check.mend


def test_doctor_lists_the_data_problems_of_runs(make_run, tmp_path):
    make_run(tmp_path / "run", steps=2, prompts=4)
    (tmp_path / "run" / "tokens" / "step-000001" / "rank-0000-a1.parquet").write_bytes(b"cut")
    done = CliRunner().invoke(app, ["doctor", str(tmp_path), "--json"])
    assert done.exit_code == 1
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


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="reads the server's environment from /proc"
)
def test_the_dashboard_serves_and_is_given_the_paths(tmp_path):
    """A real Streamlit server; its process holds the folders in ENTROPYLAB_PATHS and ends with SIGTERM."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    port = free_port()
    arguments = ["dashboard", tmp_path / "a", tmp_path / "b", "--port", str(port), "--headless"]
    server = subprocess.Popen([SCRIPT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        assert wait_for_health(port)
        environment = Path(f"/proc/{server.pid}/environ").read_bytes().decode().split("\0")
        assert f"ENTROPYLAB_PATHS={tmp_path / 'a'}{os.pathsep}{tmp_path / 'b'}" in environment
    finally:
        server.terminate()
        server.communicate(timeout=30)


def wait_for_health(port: int, seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5) as answer:
                return answer.read() == b"ok"
        except OSError:
            time.sleep(0.2)
    return False
