"""What it costs to look at a run of many steps: the first time, again, and in a new process's place.

A run of 2,000 steps of one rank, as many small files and compacted, in a local folder and on a local S3
server (moto) behind a proxy that counts requests. Latency of a real store comes on top: requests x its delay,
of which 16 run at one time for markers.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measure import keep

import entropylab as el
from entropylab.record.compaction import compact_run

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/record"))

from store_proxy import StoreProxy
from store_server import settings, store_server, upload

STEPS = 2_000


def write(folder: Path) -> None:
    rng = np.random.default_rng(0)
    with el.Recorder(folder) as recorder:
        for step in range(STEPS):
            logprobs = -rng.exponential(size=(8, 16))
            batch = {"logprobs": logprobs, "entropy": -logprobs, "advantages": rng.normal(size=8)}
            recorder.record(step, mask=np.ones((8, 16), bool), rewards=rng.integers(0, 2, 8), **batch)


def look(path: str) -> el.Run:
    run = el.open_run(path)
    if len(run.steps()) != STEPS or run.problems(rows=False):
        raise AssertionError(f"{path} is not whole")
    return run


def timed(action: Callable[[], object], proxy: StoreProxy) -> dict[str, object]:
    proxy.reset()
    start = time.perf_counter()
    action()
    found: dict[str, object] = {"seconds": round(time.perf_counter() - start, 3)}
    return found | ({"requests": dict(sorted(proxy.counts().items()))} if proxy.requests else {})


def looks(path: str, cache: Path, proxy: StoreProxy) -> dict[str, object]:
    """First: no cache; reopened: the cache on disk only; again: the same object, nothing changed."""
    shutil.rmtree(cache, ignore_errors=True)
    found = {name: timed(lambda: look(path), proxy) for name in ("first", "reopened")}
    run = look(path)
    return found | {"again": timed(lambda: (run.steps(), run.problems(rows=False)), proxy)}


def main() -> None:
    os.environ.update(AWS_ACCESS_KEY_ID="id", AWS_SECRET_ACCESS_KEY="key")
    with tempfile.TemporaryDirectory() as place, store_server() as port, StoreProxy(port) as proxy:
        folder, caches = Path(place) / "r", Path(place) / "cache"
        os.environ["XDG_CACHE_HOME"] = str(caches)
        write(folder)
        figures: dict[str, object] = {"steps": STEPS}
        for form in ("small files", "compacted"):
            if form == "compacted":
                compact_run(folder)
            prefix = form.replace(" ", "-")
            upload(folder, port, prefix)
            url = f"s3://runs/{prefix}?{settings(proxy.port)}"
            figures[form] = {
                "files": sum(p.is_file() and "cache" not in p.parts for p in folder.rglob("*")),
                "local": looks(str(folder), folder / "cache", proxy),
                "s3": looks(url, caches, proxy),
            }
    keep("listing", figures)


if __name__ == "__main__":
    main()
