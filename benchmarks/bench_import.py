"""What it costs to import the package and its command line: CPU time and modules, beside ``import numpy``.

Fresh interpreters in turn; the start of a bare interpreter is taken off both. The heavy packages that a
statement loads are named (``python -X importtime`` would show them).
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from resource import RUSAGE_CHILDREN, getrusage

from measure import keep

ROUNDS = 15
HEAVY = ("torch", "pandas", "pyarrow", "scipy", "statsmodels", "matplotlib", "streamlit", "numpy")
STATEMENTS = {
    "bare": "pass",
    "numpy": "import numpy",
    "entropylab": "import entropylab",
    "settings": "import entropylab; entropylab.METHODS",
    "command line": "import entropylab.cli.main",
    "open_run": "import entropylab; entropylab.open_run",
}


def seconds(statement: str) -> float:
    """CPU seconds of a fresh interpreter that runs it."""
    before = getrusage(RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", statement], check=True)
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def loaded(statement: str) -> dict[str, object]:
    """How many modules it loads, and which heavy packages."""
    code = f"import sys\nbare = set(sys.modules)\n{statement}\n"
    code += f"print(len(set(sys.modules) - bare), *(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    count, *heavy = done.stdout.split()
    return {"modules": int(count), "heavy": heavy}


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(ROUNDS + 1):
        for name, statement in STATEMENTS.items():
            times[name].append(seconds(statement))
    median = {name: statistics.median(values[1:]) for name, values in times.items()}
    own = {name: median[name] - median["bare"] for name in STATEMENTS if name != "bare"}
    figures = {
        name: {
            "cpu_ms": round(1000 * own[name], 1),
            "ratio_to_numpy": round(own[name] / own["numpy"], 3),
            **loaded(STATEMENTS[name]),
        }
        for name in own
    }
    keep("imports", {"rounds": ROUNDS, "bare_interpreter_cpu_ms": round(1000 * median["bare"], 1), **figures})


if __name__ == "__main__":
    main()
