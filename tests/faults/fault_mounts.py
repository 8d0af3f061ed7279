"""Real small, full, read-only, slow and cut-off file systems; each needs root and is skipped without."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


def run(*command: object) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout.strip()


def need(*command: object) -> str:
    """Run a command that needs rights which not every machine gives; skip the test without them."""
    try:
        return run(*command)
    except OSError as error:
        pytest.skip(f"this machine does not allow it: {error}")


@contextlib.contextmanager
def mounted(folder: Path, *options: object) -> Iterator[Path]:
    """Mount something on a folder for as long as the block lasts."""
    folder.mkdir(parents=True, exist_ok=True)
    need("mount", *options, folder)
    try:
        yield folder
    finally:
        run("umount", "-l", folder)


def tmpfs(folder: Path, options: str) -> contextlib.AbstractContextManager[Path]:
    """An empty file system in memory, for example with ``size=2m`` or ``nr_inodes=40``."""
    return mounted(folder, "-t", "tmpfs", "-o", options, "none")


def resize(folder: Path, options: str) -> None:
    run("mount", "-o", f"remount,{options}", folder)


@contextlib.contextmanager
def read_only(source: Path, folder: Path) -> Iterator[Path]:
    """The same files at another place, without the right to write, also for root."""
    with mounted(folder, "--bind", source):
        run("mount", "-o", "remount,ro,bind", folder)
        yield folder


def ext4_image(path: Path, size: int) -> Path:
    """A file that holds an ext4 file system with a journal."""
    path.touch()
    os.truncate(path, size)
    need("mkfs.ext4", "-q", "-F", path)
    return path


def loop_device(folder: Path) -> str:
    """The block device under a mounted image."""
    return run("findmnt", "-n", "-o", "SOURCE", folder)


@contextlib.contextmanager
def throttled(folder: Path, bytes_a_second: int) -> Iterator[Path]:
    """A control group whose processes write to the device of ``folder`` no faster; its file of processes."""
    root = Path("/sys/fs/cgroup/blkio")
    group = root / f"entropylab-{os.getpid()}"
    if not (root / "blkio.throttle.io_service_bytes").exists() or not os.access(root, os.W_OK):
        pytest.skip("this machine has no blkio control group to throttle a disk with")
    number = os.stat(loop_device(folder)).st_rdev
    group.mkdir()
    try:
        rule = f"{os.major(number)}:{os.minor(number)} {bytes_a_second}"
        (group / "blkio.throttle.write_bps_device").write_text(rule)
        yield group / "cgroup.procs"
    finally:
        for process in (group / "cgroup.procs").read_text().split():
            (root / "cgroup.procs").write_text(process)
        group.rmdir()
