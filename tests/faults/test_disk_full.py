"""A full disk: a named error, nothing promised lost, no half file; the run goes on once there is room."""

from __future__ import annotations

import shutil

import pytest
from fault_checks import check_kept
from fault_mounts import ext4_image, mounted, resize, tmpfs
from fault_process import Trainer, run_to_end
from fault_trials import marked

import entropylab as el
from entropylab.errors import RecorderError


def fill(path, reference, **job):
    """Train until the recorder refuses; what it had promised, checked."""
    with Trainer(path, steps=reference.length, **job) as trainer:
        promises = trainer.end(None)
    assert promises.error is not None, (promises, trainer.lines, trainer.stderr)
    assert promises.error.startswith("RecorderError"), promises.error
    return promises


def check_no_half_files(path) -> None:
    assert not list(path.rglob(".*.tmp"))
    assert not [p for p in path.rglob("*") if p.is_file() and p.stat().st_size == 0]


@pytest.mark.parametrize("options", marked(["size=1m", "size=8m,nr_inodes=60"], 1))
def test_a_small_disk_fills(options, tmp_path, reference, outcome):
    with tmpfs(tmp_path / "disk", options) as disk:
        path = disk / "r"
        promises = fill(path, reference)
        assert "No space left on device" in promises.error
        assert "open a new Recorder" in promises.error
        check_no_half_files(path)
        kept = check_kept(path, promises, reference)
        assert kept > 3
        resize(disk, "size=64m,nr_inodes=10000")
        shutil.copytree(path, tmp_path / "r")
    with el.Recorder(tmp_path / "r") as recorder:
        assert recorder.attempt == 2
    outcome("disk full (tmpfs)", sees="RecorderError: No space left on device; a whole prefix")


@pytest.mark.parametrize("kilobytes", marked([64, 76, 88, 24, 40, 100, 112, *range(4, 160, 4)], 0))
def test_the_disk_is_full_at_each_kind_of_file(kilobytes, tmp_path, reference, outcome):
    """Pages of 4 KiB: one more each time lets the next file through, from `_run.json` on."""
    with tmpfs(tmp_path / "disk", f"size={kilobytes}k") as disk:
        path = disk / "r"
        promises = fill(path, reference)
        if promises.attempt is None:
            assert "cannot write a run to" in promises.error
            assert "No space left" in promises.error
        elif (path / "_run.json").exists():
            check_kept(path, promises, reference)
        check_no_half_files(path)
        resize(disk, "size=64m")
        with Trainer(path, steps=5) as trainer:
            again = trainer.end(None)
        assert again.closed, trainer.stderr
        reference.check_steps(el.open_run(path), max(5, promises.steps))
    outcome("disk full at each page", sees="RecorderError naming the file; goes on once there is room")


@pytest.mark.parametrize("limit", marked([3_000, 2_000, 1_000, 4_500, 6_000, 7_000], 1))
def test_files_that_may_not_grow(limit, fast, reference, outcome):
    """RLIMIT_FSIZE needs no rights: write() itself fails, with a part of the file written."""
    path = fast / "r"
    promises = fill(path, reference, file_size_limit=limit)
    assert "File too large" in promises.error
    check_no_half_files(path)
    if (path / "_run.json").exists():
        check_kept(path, promises, reference)
    outcome("file size limit", sees="RecorderError: File too large")


@pytest.mark.faults
def test_a_disk_that_promised_more_room_than_it_has(tmp_path, reference, outcome):
    """An ext4 image on a small tmpfs: write() succeeds, fsync() meets the input/output error."""
    with tmpfs(tmp_path / "below", "size=1m") as below:
        image = ext4_image(below / "image", 64 * 2**20)
        with mounted(tmp_path / "disk", "-o", "loop", image) as disk:
            promises = fill(disk / "r", reference)
            assert any(text in promises.error for text in ("Input/output error", "Read-only", "No space"))
            run = el.open_run(disk / "r")
            assert len(run.whole_steps()) >= promises.steps
            reference.check_steps(run, len(run.whole_steps()))
    outcome("input/output error at fsync", sees="RecorderError: Input/output error")


def test_the_reader_works_on_a_full_disk(tmp_path, make_run):
    """The cache of several ranks cannot be written: the frames are the same, no file is left."""
    make_run(tmp_path / "r", steps=3, prompts=6, group=4, world_size=2)
    expected = el.open_run(tmp_path / "r").steps()
    shutil.rmtree(tmp_path / "r/cache")
    size = sum(-(-p.stat().st_size // 4096) for p in (tmp_path / "r").rglob("*") if p.is_file())
    with tmpfs(tmp_path / "disk", f"size={4 * size}k") as disk:
        shutil.copytree(tmp_path / "r", disk / "r")
        assert el.open_run(disk / "r").steps().equals(expected)
        assert not list((disk / "r").glob("cache/*"))
        assert el.open_run(disk / "r").problems() == []


def test_training_that_must_not_stop_goes_on_without_the_recorder(tmp_path, reference, outcome):
    """on_error="warn": one warning, training ends as if there were room, the run tells where it stopped."""
    with tmpfs(tmp_path / "disk", "size=400k") as disk:
        with Trainer(disk / "r", steps=60, arguments={"on_error": "warn"}) as trainer:
            promises = trainer.end(None)
        assert trainer.code == 0, trainer.stderr
        assert promises.ended == 60
        assert trainer.stderr.count("No space left on device") == 1, trainer.stderr
        run = el.open_run(disk / "r")
        kept = run.whole_steps()
        assert 0 < len(kept) < 60
        reference.check_steps(run, len(kept))
        assert f"its last whole step is {kept[-1]}" in str(run.problems())
    outcome("disk full, on_error=warn", sees="one warning, training goes on; problems: interrupted")


def test_an_error_in_the_thread_reaches_the_training_loop_within_two_steps(tmp_path, reference):
    """A loop that never flushes learns of a full disk from the second end_step after it."""
    with tmpfs(tmp_path / "disk", "size=300k") as disk:
        with Trainer(disk / "r", steps=reference.length, flush_every=100_000) as trainer:
            promises = trainer.end(None)
        kept = check_kept(disk / "r", promises, reference)
        assert promises.ended <= kept + 2
        with pytest.raises(RecorderError, match="No space left"):
            el.Recorder(disk / "other" / "deep").close()


def test_training_can_go_on_where_there_is_room(tmp_path, reference):
    """Full, room made, resumed from the checkpoint: the history of an uninterrupted run."""
    with tmpfs(tmp_path / "disk", "size=400k") as disk:
        job = {"checkpoint": str(tmp_path / "c.npz"), "flush_every": 2}
        promises = fill(disk / "r", reference, **job)
        resize(disk, "size=64m")
        run_to_end(disk / "r", steps=promises.steps + 6, **job)
        reference.check_steps(el.open_run(disk / "r"), promises.steps + 6)
