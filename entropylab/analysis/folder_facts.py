"""What a run folder holds: steps, tokens, stored rows, bytes, files, attempts, ranks, sampling."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..record.reader import Run


def folder_facts(run: Run) -> dict[str, Any]:
    """One row on a run: counts from the markers, sizes from the file system (None of an object store)."""
    steps = run.steps()
    sizes = list(_sizes(run.path)) if isinstance(run.path, Path) else None
    return {
        "method": run.method,
        "steps": len(steps),
        "tokens": int(steps["n_tokens"].sum()),
        "token rows": run.stored_rows(),
        "bytes": None if sizes is None else sum(sizes),
        "files": None if sizes is None else len(sizes),
        "attempts": len(run.info["attempts"]),
        "ranks": int(run.info.get("world_size") or 1),
        "sampling": _sampling(run.info.get("token_sampling")),
        "folder": str(run.path),
    }


def _sizes(folder: Path) -> Iterator[int]:
    for where, _, files in os.walk(folder):
        for name in files:
            try:
                yield os.stat(os.path.join(where, name)).st_size
            except FileNotFoundError:
                continue  # replaced or compacted meanwhile


def _sampling(policy: Any) -> str:
    if not isinstance(policy, Mapping):
        return "-"
    usual: tuple[Any, ...] = (None, False, [], 1)
    changed = [f"{key}={value}" for key, value in policy.items() if key != "seed" and value not in usual]
    return ", ".join(changed) or "every token"
