"""Where each file of a run lies; the only place that builds or reads names of run files."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote

from ..errors import InvalidInputError
from .remote import RemotePath

RUN_FILE = "_run.json"
VOCABULARY_FILE = "vocabulary.parquet"
TOKENS = "tokens"
RESPONSES = "responses"
MARKERS = "markers"
EVALUATIONS = "evaluations"
CACHE = "cache"
COMPACTED = "compacted"

_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]+)://(.*)$", re.IGNORECASE)
_RANK_FILE = re.compile(r"^rank-(\d{4,})-a(\d+)\.(?:parquet|json)$")
_OPEN_FILE = re.compile(r"^open-rank-(\d{4,})-a(\d+)\.json$")
_EVALUATION_FILE = re.compile(r"^.+-a(\d+)\.json$")
_STEP_FOLDER = re.compile(r"^step-(\d{6,})$")


def local_path(path: str | os.PathLike[str]) -> Path:
    """The local folder or file that ``path`` names; `InvalidInputError` for any URL but ``file://``."""
    text = os.fspath(path)
    if not isinstance(text, str) or not text:
        raise InvalidInputError(f"path must be a non-empty string or a pathlib.Path, got {path!r}")
    match = _SCHEME.match(text)
    if match is None:
        return Path(text).expanduser()
    if match[1].lower() != "file":
        raise InvalidInputError(
            f"path {text!r}: only local folders can be used; copy the run to this machine"
        )
    return Path(match[2])


def location(path: str | os.PathLike[str] | RemotePath) -> Path | RemotePath:
    """The folder that ``path`` names: local, or by URL (``s3://bucket/runs/a``) in an object store."""
    if isinstance(path, RemotePath):
        return path
    match = _SCHEME.match(path) if isinstance(path, str) else None
    if match is None or match[1].lower() == "file":
        return local_path(path)
    if not match[2].strip("/"):
        raise InvalidInputError(f"path {path!r} names no folder; give a URL such as s3://bucket/runs/a")
    return RemotePath(str(path))


def step_folder(kind: str, step: int) -> str:
    """Path inside the run of the files of a step."""
    return f"{kind}/step-{step:06d}"


def rank_file(kind: str, step: int, rank: int, attempt: int) -> str:
    """Path inside the run of one rank's file of a step, with ``kind`` tokens, responses or markers."""
    suffix = "json" if kind == MARKERS else "parquet"
    return f"{step_folder(kind, step)}/rank-{rank:04d}-a{attempt}.{suffix}"


def open_file(rank: int, attempt: int) -> str:
    """Path inside the run of the file that exists while a rank's recorder is open."""
    return f"{MARKERS}/open-rank-{rank:04d}-a{attempt}.json"


def evaluation_file(step: int, split: str, metric: str, attempt: int) -> str:
    """Path inside the run of one evaluation; characters that a file name cannot hold are percent-encoded."""
    name = f"{quote(split, safe='@')}-{quote(metric, safe='@')}-a{attempt}.json"
    return f"{step_folder(EVALUATIONS, step)}/{name}"


def parse_rank_file(name: str) -> tuple[int, int] | None:
    """(rank, attempt) of a file name, None where it is not a rank's file."""
    match = _RANK_FILE.match(name)
    return (int(match[1]), int(match[2])) if match else None


def parse_open_file(name: str) -> tuple[int, int] | None:
    """(rank, attempt) of the name of an open recorder's file, None where it is not one."""
    match = _OPEN_FILE.match(name)
    return (int(match[1]), int(match[2])) if match else None


def parse_evaluation_file(name: str) -> int | None:
    """Attempt in the file name of an evaluation, None where it is not one."""
    match = _EVALUATION_FILE.match(name)
    return int(match[1]) if match else None


def parse_step_folder(name: str) -> int | None:
    """Step in the name of a step's folder, None where it is not one."""
    match = _STEP_FOLDER.match(name)
    return int(match[1]) if match else None


def lock_file(rank: int) -> str:
    """Path inside a local run of the file that is locked while a rank's recorder is open."""
    return f"{MARKERS}/rank-{rank:04d}.lock"


def is_lock(name: str) -> bool:
    """Whether a file name is that of a rank's lock."""
    return name.startswith("rank-") and name.endswith(".lock")


def is_temporary(name: str) -> bool:
    """Whether a file name is that of a file under way (see `writer.replace_file`)."""
    return name.startswith(".") and name.endswith(".tmp")
