"""``entropylab doctor --trainer NAME``: is the trainer there, and has it really loaded us."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Callable

from entropylab.errors import UnknownNameError

from .checks import Check

VERL_MODULE = "entropylab.trainers.verl"
_OLDEST = {"trl": (0, 29), "verl": (0, 9)}
"""Oldest versions that were run."""
_SECONDS = 300.0

_PROBE = f"""
import json, sys
import verl
from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY
found = {{"losses": sorted(n for n in POLICY_LOSS_REGISTRY if n.startswith("entropylab_")), "error": None}}
found["loaded"] = bool(found["losses"])
try:
    import importlib
    importlib.import_module({VERL_MODULE!r})
    from entropylab.trainers.verl.registration import registered
    found["trainer"], found["trainer_error"] = registered().trainer, registered().trainer_error
except Exception as error:
    found["error"] = f"{{type(error).__name__}}: {{error}}"
print("PROBE" + json.dumps(found))
"""
"""Run in a fresh process, so that verl loads its plug-ins as it does in training."""


def trainer_checks(name: str) -> list[Check]:
    """The checks of one trainer.

    Raises:
        UnknownNameError: a trainer without checks.
    """
    if name not in _CHECKS:
        raise UnknownNameError(f"--trainer {name}: no checks for it; there are {', '.join(_CHECKS)}")
    version = _version(name)
    return [version, *(_CHECKS[name]() if version.found != "missing" else [])]


def _version(name: str) -> Check:
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "missing", False, f"pip install {name}")
    oldest = ".".join(map(str, _OLDEST[name]))
    fine = tuple(int(part) for part in found.split(".")[:2] if part.isdigit()) >= _OLDEST[name]
    return Check(name, found, fine, f"{name} before {oldest} was not tried: pip install -U {name}")


def _verl() -> list[Check]:
    found = _probe()
    entry = any(e.value == VERL_MODULE for e in importlib.metadata.entry_points(group="verl.plugins"))
    declared = Check(
        "entry point",
        "installed" if entry else "missing",
        entry or bool(found.get("loaded")),
        f"pip install entropylab-rl beside verl, or set VERL_USE_EXTERNAL_MODULES={VERL_MODULE} for the "
        "driver and in the environment of the Ray workers",
    )
    return [declared, _losses(found), _trainer(found)]


def _losses(found: dict) -> Check:
    if found.get("error"):
        return Check("losses in verl", "the plug-in fails", False, f"verl hides this error: {found['error']}")
    state = f"{len(found['losses'])} registered" if found["loaded"] else "not loaded"
    mend = (
        "verl did not load the plug-in: unset VERL_USE_EXTERNAL_PLUGINS where it is none or names others, or "
        f"set VERL_USE_EXTERNAL_MODULES={VERL_MODULE}"
    )
    return Check("losses in verl", state, found["loaded"], mend)


def _trainer(found: dict) -> Check:
    if not found["loaded"]:
        return Check("trainer in verl", "not loaded", False, "as the losses")
    reason = found.get("trainer_error") or "the losses could not be registered"
    mend = f"the losses work without it; trainer_mode=entropylab_sync needs what is missing: {reason}"
    return Check("trainer in verl", found.get("trainer") or "missing", bool(found.get("trainer")), mend)


def _probe() -> dict:
    """What a fresh process finds in verl's registries, or the error that stopped it."""
    command = [sys.executable, "-W", "ignore", "-c", _PROBE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"importing verl took longer than {_SECONDS:g} s", "losses": [], "loaded": False}
    line = next((line for line in done.stdout.splitlines() if line.startswith("PROBE")), None)
    if line is not None:
        return json.loads(line.removeprefix("PROBE"))
    last = (done.stderr.strip().splitlines() or ["no output"])[-1]
    return {"error": f"verl does not load: {last}", "losses": [], "loaded": False}


_CHECKS: dict[str, Callable[[], list[Check]]] = {"verl": _verl, "trl": list}
