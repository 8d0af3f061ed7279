"""Clip-Cov, KL-Cov and PPO against verl 0.9.1: CPU time of forward and backward, one thread, fp32.

The peer needs an environment of its own (tests/oracles/make_verl_golden.py says how to make one):

    python benchmarks/bench_losses.py --verl V/bin/python

or ENTROPYLAB_VERL_PYTHON=V/bin/python. Without one, only the ratio to our own PPO is measured. Both sides run
in processes of their own, in turn, and the medians are compared.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

from measure import keep

HERE = Path(__file__).parent
ROWS = (64, 512)
LOSSES = ("ppo", "clip_cov", "kl_cov")


class Side:
    """One worker process."""

    def __init__(self, python: str, name: str, tunables: str = "") -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        if tunables:
            environment["GLIBC_TUNABLES"] = tunables
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        self._process = subprocess.Popen(
            [python, str(HERE / "loss_worker.py"), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        while (line := self._process.stdout.readline()) != "ready\n":
            if not line:
                raise SystemExit(f"the worker for {name} did not start with {python}")

    def ask(self, request: str) -> float:
        self._process.stdin.write(request + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


def measure(sides: dict[str, Side], frugal: dict[str, Side], rows: int, rounds: int) -> dict[str, object]:
    """Median CPU milliseconds and peak MiB of each loss of each side, and ratios.

    Peaks are of processes that give freed memory back at once, so that what is resident is in use.
    """
    times: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds + 2):
        for loss in LOSSES:
            for name, side in sides.items():
                seconds = side.ask(f"{rows} {loss}")
                if number >= 2:
                    times.setdefault((name, loss), []).append(seconds)
    cpu_ms = {f"{name}/{loss}": 1e3 * statistics.median(x) for (name, loss), x in times.items()}
    peaks = {
        f"{name}/{loss}": statistics.median(side.ask(f"{rows} {loss} peak") for _ in range(5))
        for name, side in frugal.items()
        for loss in LOSSES
    }
    return {
        "cpu_ms": {name: round(value, 2) for name, value in cpu_ms.items()},
        "peak_mib": {name: round(value, 1) for name, value in peaks.items()},
        "ratios": {name: round(value, 3) for name, value in ratios(cpu_ms).items()},
    }


def ratios(cpu_ms: dict[str, float]) -> dict[str, float]:
    """Each loss over verl's, and over the slower of our PPO and verl's vanilla."""
    slower = max(value for name, value in cpu_ms.items() if name.endswith("/ppo"))
    over = {
        f"{loss}/verl": cpu_ms[f"own/{loss}"] / cpu_ms.get(f"verl/{loss}", float("nan")) for loss in LOSSES
    }
    found = {name: value for name, value in over.items() if value == value}
    return {**found, **{f"{loss}/slower_ppo": cpu_ms[f"own/{loss}"] / slower for loss in LOSSES}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verl", default=os.environ.get("ENTROPYLAB_VERL_PYTHON"), metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=25)
    arguments = parser.parse_args()
    pythons = {"own": sys.executable}
    if arguments.verl:
        pythons["verl"] = arguments.verl
    else:
        print("verl is left out: give its Python with --verl or ENTROPYLAB_VERL_PYTHON.")
    sides = {name: Side(python, name) for name, python in pythons.items()}
    frugal = {
        name: Side(python, name, "glibc.malloc.mmap_threshold=65536") for name, python in pythons.items()
    }
    figures = {
        f"{rows}x4096": measure(sides, frugal, rows, max(15, arguments.rounds * 64 // rows)) for rows in ROWS
    }
    keep("losses" if arguments.verl else "losses_without_verl", figures)


if __name__ == "__main__":
    main()
