"""What reading a curve costs: neither torch nor plotting, and pandas and statsmodels only where used."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "matplotlib", "pandas", "statsmodels", "scipy.stats", "pyarrow")
FIT = "entropylab.analysis.curve.fit_curve([i / 20 for i in range(20)], [0.5 - i / 100 for i in range(20)])"


def loaded_after(code):
    script = f"import sys\n{code}\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(
    "code", ["import entropylab.analysis.curve", f"import entropylab.analysis.curve\n{FIT}"]
)
def test_curve_loads_nothing_heavy(code):
    assert loaded_after(code) == "[]"


def test_the_check_can_fail():
    assert "pandas" in loaded_after("import pandas")
