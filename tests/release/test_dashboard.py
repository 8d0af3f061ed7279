"""The dashboard of the wheel, served in an empty folder."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from environments import outside

pytestmark = pytest.mark.release


@pytest.fixture
def port(environment, runs: Path) -> Iterator[int]:
    """Where ``entropylab dashboard`` of the wheel listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    ours = environment("app")
    command = [ours.bin / "entropylab", "dashboard", runs, "--port", str(number), "--headless"]
    server = subprocess.Popen(command, cwd=ours.place, env=outside(), stdout=subprocess.PIPE, text=True)
    yield number
    server.terminate()
    server.communicate(timeout=30)


def healthy(port: int, seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5) as answer:
                return answer.read() == b"ok"
        except OSError:
            time.sleep(0.2)
    return False


def test_the_first_page_is_drawn_without_an_exception(environment, port: int) -> None:
    assert healthy(port)
    said = environment("app").output("python", Path(__file__).with_name("first_page.py"), str(port))
    print(said)
