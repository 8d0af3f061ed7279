"""``entropylab dashboard``: start the Streamlit app on run folders."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

import entropylab
from entropylab.errors import RunNotFoundError, require_extra

from .output import complain

PATHS_VARIABLE = "ENTROPYLAB_PATHS"
"""Environment variable that hands the run folders to the app, joined by ``os.pathsep``."""

EXAMPLES = (
    "entropylab dashboard runs/demo",
    "entropylab dashboard sample_logs --port 0 --headless",
)


def command(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATH]...",
            help="Run folders, or folders above them; without any, runs/ and then sample_logs/.",
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to serve on; 0 takes a free one.")] = 8501,
    headless: Annotated[bool, typer.Option("--headless", help="Do not open a browser.")] = False,
    address: Annotated[
        str, typer.Option(help="Address to listen on; only this machine by default.")
    ] = "127.0.0.1",
) -> None:
    """Open the dashboard in the browser."""
    roots = [_existing(path) for path in paths or []]
    if importlib.util.find_spec("streamlit") is None:
        raise require_extra("streamlit", "app", "The dashboard")
    arguments = streamlit_command(find_app(), port=port, headless=headless, address=address)
    chosen = {PATHS_VARIABLE: os.pathsep.join(roots)} if roots else {}
    _run(arguments, {**os.environ, **chosen})


def find_app(package: Path | None = None) -> Path:
    """The app's entry file: in an installed wheel ``entropylab/_app``, in a checkout ``app`` beside it."""
    package = package or Path(entropylab.__file__).resolve().parent
    for candidate in (package / "_app" / "main.py", package.parent / "app" / "main.py"):
        if candidate.is_file():
            return candidate
    raise RunNotFoundError(
        f"The dashboard's files are not beside the package ({package}): "
        "install entropylab-rl again, or run from a full checkout"
    )


def streamlit_command(main: Path, *, port: int, headless: bool, address: str) -> list[str]:
    """The command that serves the app, with Streamlit's telemetry and e-mail question off."""
    settings = {
        "server.port": str(port),
        "server.address": address,
        "server.headless": str(headless).lower(),
        "server.fileWatcherType": "none",
        "server.showEmailPrompt": "false",
        "browser.gatherUsageStats": "false",
    }
    options = [piece for key, value in settings.items() for piece in (f"--{key}", value)]
    return [sys.executable, "-m", "entropylab.cli.serve", "run", str(main), *options]


def _existing(path: str) -> str:
    if "://" in path:
        return path
    if not Path(path).is_dir():
        raise RunNotFoundError(f"No folder at {path}: give a run folder or a folder above runs")
    return str(Path(path).resolve())


def _run(arguments: Sequence[str], environment: dict[str, str]) -> None:
    """Become the server (POSIX), so that signals reach it; elsewhere wait for it."""
    sys.stdout.flush()
    if os.name == "posix":
        os.execve(arguments[0], list(arguments), environment)
    code = subprocess.run(arguments, env=environment, check=False).returncode
    if code:
        complain(f"streamlit ended with code {code}")
    raise typer.Exit(1 if code else 0)
