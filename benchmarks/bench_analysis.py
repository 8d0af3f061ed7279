"""Wall-clock seconds of ``analyze_tails`` on a million tokens, and of ``entropylab fit`` on 2,000 steps.

The floor of the first is one sort of the covariances; of the second, starting the interpreter
and importing numpy and pandas.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measure import keep

import entropylab as el

PROMPTS, GROUP, LENGTH, STEPS = 2000, 8, 63, 2000
HEAVY = ("torch", "matplotlib", "streamlit")


def tokens() -> dict[str, np.ndarray]:
    """1,008,000 tokens of 2,000 prompts."""
    rng = np.random.default_rng(0)
    response = np.repeat(np.arange(PROMPTS * GROUP), LENGTH)
    a = np.where(rng.random(PROMPTS * GROUP) < 0.3, 1.5, -0.6)[response]
    l = -(rng.exponential(size=len(response)) ** 1.5)
    columns = {"logprobs": l, "advantages": a, "prompt_ids": response // GROUP, "sample_ids": response}
    return {"covariance": (l - l.mean()) * (a - a.mean()), **columns}


def write_run(path: Path) -> None:
    """A run of 2,000 steps of few tokens, evaluated every 10th."""
    rng = np.random.default_rng(0)
    mask = np.ones((4, 4), dtype=bool)
    with el.Recorder(path, method="baseline") as recorder:
        for step in range(STEPS):
            h = 0.05 + 0.5 * np.exp(-step / 300) + 0.01 * rng.normal()
            columns = {"logprobs": -rng.random((4, 4)), "advantages": rng.normal(size=4), "mask": mask}
            recorder.record(step, None, **columns, entropy=np.full((4, 4), h))
            if step % 10 == 0:
                value = float(0.6 - 0.2 * np.exp(h) + 0.005 * rng.normal())
                recorder.evaluate(step, metric="accuracy", value=value, n=500)


def wall(call: Callable[[], object], rounds: int) -> float:
    """Median seconds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    batch = tokens()
    figures: dict[str, object] = {
        "tokens": len(batch["covariance"]),
        "sort_s": round(wall(lambda: np.sort(batch["covariance"]), 5), 3),
        "analyze_tails_s": round(wall(lambda: el.analyze_tails(**batch), 3), 2),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        write_run(path)
        command = [str(Path(sys.executable).with_name("entropylab")), "fit", str(path), "--json"]
        figures["fit_first_s"] = round(wall(lambda: subprocess.run(command, capture_output=True), 1), 2)
        figures["fit_s"] = round(wall(lambda: subprocess.run(command, capture_output=True), 5), 2)
        bare = [sys.executable, "-c", "pass"]
        figures["interpreter_s"] = round(wall(lambda: subprocess.run(bare), 5), 3)
        tables = [sys.executable, "-c", "import numpy, pandas"]
        figures["numpy_pandas_s"] = round(wall(lambda: subprocess.run(tables), 5), 3)
        code = f"import sys; sys.argv = ['entropylab', 'fit', {str(path)!r}, '--json']\n"
        code += "from entropylab.cli.main import app\ntry: app()\nexcept SystemExit: pass\n"
        code += f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        figures["heavy_modules"] = found.stderr.strip().splitlines()[-1]
    keep("analysis", figures)


if __name__ == "__main__":
    main()
