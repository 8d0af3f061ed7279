"""Folders without the right to write or read: an error by name; what can be read is read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from fault_mounts import ext4_image, mounted, need, read_only, run
from fault_process import ROOT, Trainer
from fault_trials import marked

import entropylab as el
from entropylab.record.compaction import compact_run

NOBODY = 65534

READ = """
import os, sys, json
import entropylab as el
from entropylab.record.compaction import compact_run
warm = el.open_run(sys.argv[1])  # imports what is lazy while this process may still read the interpreter
warm.steps(), warm.problems(), list(warm.tokens()), warm.evaluations()
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    run = el.open_run(sys.argv[1])
    steps, problems = run.steps()["step"].tolist(), run.problems()
    print(json.dumps({"steps": steps, "problems": [[p.kind, p.path] for p in problems]}))
    list(run.tokens())
    if "compact" in sys.argv:
        compact_run(sys.argv[1])
except el.EntropylabError as error:
    print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
"""


@pytest.fixture
def folder(make_run, fast):
    make_run(fast / "r", steps=3, prompts=6, group=4, world_size=2)
    shutil.rmtree(fast / "r/cache", ignore_errors=True)
    fast.chmod(0o755)
    return fast / "r"


def as_nobody(*arguments) -> str:
    """Read as a user without rights; this process is root, which no permission stops."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    done = subprocess.run(
        [sys.executable, "-c", READ, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_read_only_mount_is_read_and_not_written(folder, tmp_path, outcome):
    expected = el.open_run(folder).steps()
    shutil.rmtree(folder / "cache")
    with read_only(folder, tmp_path / "mount") as mount:
        opened = el.open_run(mount)
        assert opened.steps().equals(expected)
        assert opened.problems() == []
        assert list(opened.tokens())
        with pytest.raises(el.EntropylabError, match=r"cannot write a run to .*Read-only file system"):
            el.Recorder(mount)
        with pytest.raises(el.EntropylabError, match="Read-only file system"):
            compact_run(mount)
    outcome("read-only mount", sees="reads as always; RecorderError: Read-only file system")


def test_a_disk_that_turns_read_only_under_the_recorder(fast, reference, outcome):
    """ext4 does so by itself when it meets an error; the option ``abort`` makes it believe in one."""
    image = ext4_image(fast / "image", 32 * 2**20)
    with mounted(fast / "disk", "-o", "loop", image) as disk:
        with Trainer(disk / "r", steps=reference.length) as trainer:
            for _ in range(5):
                trainer.wait_for("ended")
            run("mount", "-o", "remount,abort", disk)
            promises = trainer.end(None)
        assert promises.error is not None, (trainer.code, promises, trainer.stderr)
        assert promises.error.startswith("RecorderError the recorder could not write")
        assert any(text in promises.error for text in ("Read-only file system", "Input/output error"))
        opened = el.open_run(disk / "r")
        assert len(opened.whole_steps()) >= promises.steps
        reference.check_steps(opened, len(opened.whole_steps()))
    outcome("disk turns read-only", sees="RecorderError: Read-only file system")


def test_a_folder_of_another_user(folder, outcome):
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert '"steps": [0, 1, 2], "problems": []' in as_nobody(folder)
    with Trainer(folder, uid=NOBODY) as trainer:
        promises = trainer.end(None)
    assert "RecorderError" in promises.error
    assert "Permission denied" in promises.error
    assert "check the path and rights" in promises.error
    outcome("a folder of another user", sees="reads; RecorderError: Permission denied")


HIDDEN = [
    "markers/step-000001",
    ".",
    "tokens",
    "evaluations",
    "_run.json",
    "markers/step-000001/rank-0000-a1.json",
    "markers",
    "tokens/step-000001/rank-0001-a1.parquet",
    "tokens/step-000001",
    "responses",
    "evaluations/step-000002",
]


@pytest.mark.parametrize("hidden", marked(HIDDEN, 2))
def test_what_may_not_be_read_is_named(folder, hidden, outcome):
    (folder / hidden).chmod(0)
    text = as_nobody(folder)
    name = hidden if hidden != "." else str(folder)
    assert name in text, text
    (folder / hidden).chmod(0o755)
    outcome("a file or folder without the right to read", sees="unreadable_file, by name")


def test_an_immutable_file_stops_the_second_attempt_by_name(folder):
    path = folder / "_run.json"
    try:
        need("chattr", "+i", path)
    except pytest.skip.Exception:
        pytest.skip("this file system has no immutable files")
    try:
        with pytest.raises(el.EntropylabError, match=r"_run\.json"):
            el.Recorder(folder)
    finally:
        run("chattr", "-i", path)
    assert el.open_run(folder).problems() == []
