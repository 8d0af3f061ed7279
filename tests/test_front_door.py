"""Every public name resolves, is documented and typed; importing the package loads nothing heavy."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import entropylab as el

PACKAGE = Path(el.__file__).parent
HEAVY = ("torch", "pandas", "numpy", "pyarrow", "scipy", "matplotlib", "streamlit")


@pytest.mark.parametrize("name", sorted(el._PUBLIC))
def test_a_public_name_resolves_and_is_documented(name: str) -> None:
    value = getattr(el, name)
    assert name in dir(el)
    if callable(value):
        assert (inspect.getdoc(value) or "").strip(), f"{name} has no docstring"


@pytest.mark.parametrize("name", sorted(el._PUBLIC))
def test_a_public_function_is_typed(name: str) -> None:
    value = getattr(el, name)
    if not inspect.isfunction(value):
        return
    signature = inspect.signature(value)
    assert signature.return_annotation is not signature.empty
    for parameter in signature.parameters.values():
        assert parameter.annotation is not parameter.empty, f"{name}({parameter.name}) is not annotated"


def test_type_checkers_see_the_same_names_as_the_lazy_table() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    block = next(n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    typed = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == el._PUBLIC


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'polcy_loss'"):
        _ = el.polcy_loss


def loaded_by(statement: str) -> set[str]:
    """The heavy packages that a fresh interpreter holds after the statement."""
    code = f"{statement}\nimport sys\nprint(*[m for m in {HEAVY} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import entropylab") == set()


def test_the_isolation_test_can_fail() -> None:
    assert "numpy" in loaded_by("import entropylab, numpy")


def loaded_by_names(*names: str) -> set[str]:
    """What all of these together load; what is not in it, none of them loads."""
    return loaded_by("import entropylab; " + "; ".join(f"entropylab.{name}" for name in names))


def test_settings_do_not_load_torch() -> None:
    assert "torch" not in loaded_by_names("METHODS", "ClipCov", "KLCov", "PPOClip")


def test_reading_and_analysis_do_not_load_torch_or_screens() -> None:
    names = ("fit_curve", "analyze_tails", "compare_runs", "attribute", "open_run", "Recorder")
    assert loaded_by_names(*names).isdisjoint({"torch", "matplotlib", "streamlit"})
