"""Fault tests: the short form in every run of the tests, the long form with ``-m "faults or not faults"``."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_checks import Reference

REFERENCE_STEPS = 100


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long form out unless the mark expression speaks of it."""
    if "faults" in config.option.markexpr:
        return
    long = {item for item in items if item.get_closest_marker("faults")}
    config.hook.pytest_deselected(items=list(long))
    items[:] = [item for item in items if item not in long]


@pytest.fixture
def fast(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: more writes a second, so a kill meets more different moments."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    folder = tempfile.mkdtemp(dir="/dev/shm", prefix="entropylab-faults-")
    yield Path(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def reference() -> Iterator[Reference]:
    """The training of `fault_trainer` without a fault."""
    parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=parent, prefix="entropylab-reference-") as folder:
        yield Reference(Path(folder) / "r", REFERENCE_STEPS)


@pytest.fixture
def outcome(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """``outcome(fault, sees=..., lost=0, trials=1)``: a line of the table that ends a long run."""

    def tell(fault: str, *, sees: str, lost: int = 0, trials: int = 1) -> None:
        record_property("fault", (fault, trials, lost, sees))

    return tell


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table: fault, trials, what was lost of what was promised, failures, what the user sees."""
    table: dict[str, list] = defaultdict(lambda: [0, 0, 0, set()])
    for kind in ("passed", "failed"):
        for report in terminalreporter.stats.get(kind, []):
            for name, value in getattr(report, "user_properties", ()):
                if name == "fault" and report.when == "call":
                    row = table[value[0]]
                    row[0] += value[1]
                    row[1] += value[2]
                    row[2] += kind == "failed"
                    row[3].add(value[3])
    if table:
        terminalreporter.section("faults: trials, promises lost, failures, what the user sees")
    for fault, (trials, lost, failed, sees) in sorted(table.items()):
        terminalreporter.write_line(f"{fault:44} {trials:5} {lost:4} {failed:4}  {'; '.join(sorted(sees))}")
