"""A run of three ranks with several updates, and engines that do the same work elsewhere."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import entropylab as el
from entropylab.engine.local import Processes, in_process
from entropylab.engine.ray_cluster import RayCluster


@pytest.fixture(scope="session")
def recorded(make_run, tmp_path_factory) -> el.Run:
    sizes = {"steps": 6, "prompts": 12, "group": 4, "updates": 2}
    return make_run(tmp_path_factory.mktemp("engine") / "run", world_size=3, **sizes)


@pytest.fixture
def run(recorded, tmp_path) -> el.Run:
    """A copy without caches."""
    ignored = shutil.ignore_patterns("cache")
    return el.open_run(shutil.copytree(recorded.path, tmp_path / "run", ignore=ignored))


@pytest.fixture(scope="session")
def ray_of_two():
    """A Ray of two workers, of this machine."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
        yield RayCluster(workers=2)
        ray.shutdown()


@pytest.fixture
def engines(ray_of_two) -> dict:
    return {"this process": in_process, "two processes": Processes(2), "ray": ray_of_two}
