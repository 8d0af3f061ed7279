"""``entropylab doctor --trainer``: with the real verl where it is installed, else that it is missing."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from entropylab.cli import trainer_checks

HAS_VERL = importlib.util.find_spec("verl") is not None
MODULE = "entropylab.trainers.verl"


def doctor(trainer: str, **environment: str):
    """Exit code and checks by name."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("VERL_USE")} | environment
    command = [sys.executable, "-c", "from entropylab.cli.main import main; main()"]
    done = subprocess.run(
        [*command, "doctor", "--trainer", trainer, "--json"],
        capture_output=True,
        text=True,
        env=clean,
        check=False,
    )
    if not done.stdout:
        return done.returncode, done.stderr
    return done.returncode, {check["name"]: check for check in json.loads(done.stdout)["checks"]}


@pytest.mark.skipif(HAS_VERL, reason="verl is installed")
def test_a_missing_trainer_is_a_finding_with_its_command():
    code, checks = doctor("verl")
    assert code == 1
    assert checks["verl"]["mend"] == "pip install verl"


def test_an_unknown_trainer_is_wrong_use():
    code, message = doctor("vrel")
    assert code == 2
    assert "there are verl, trl" in message


def test_an_old_version_is_a_finding(monkeypatch):
    monkeypatch.setattr(trainer_checks.importlib.metadata, "version", lambda name: "0.28.1")
    (check,) = trainer_checks.trainer_checks("trl")
    assert not check.fine
    assert "0.29" in check.mend


@pytest.mark.skipif(not HAS_VERL, reason="needs verl")
def test_verl_loads_the_plug_in_from_the_environment():
    code, checks = doctor("verl", VERL_USE_EXTERNAL_MODULES=MODULE)
    assert checks["losses in verl"]["fine"]
    assert checks["entry point"]["fine"]
    assert code == (0 if all(check["fine"] for check in checks.values()) else 1)


@pytest.mark.skipif(not HAS_VERL, reason="needs verl")
def test_a_plug_in_that_verl_was_told_not_to_load_is_a_finding():
    code, checks = doctor("verl", VERL_USE_EXTERNAL_PLUGINS="none")
    assert code == 1
    assert checks["losses in verl"]["found"] == "not loaded"
    assert f"VERL_USE_EXTERNAL_MODULES={MODULE}" in checks["losses in verl"]["mend"]
