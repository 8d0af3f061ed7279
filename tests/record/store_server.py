"""A local S3 server (moto) in a process of its own, with the bucket ``runs``."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from threading import local

import pytest

BUCKET = "runs"

_SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@contextmanager
def store_server() -> Iterator[int]:
    """The port of the server; skips the test where it is not installed."""
    for module in ("moto", "flask", "flask_cors"):
        pytest.importorskip(module)
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        port = int(process.stdout.readline())
        _put(HTTPConnection("127.0.0.1", port), f"/{BUCKET}", b"")
        yield port
    finally:
        process.communicate("", timeout=20)


def settings(port: int) -> str:
    """The query of a URL of a run on this server, or on a proxy before it."""
    return f"endpoint_override=127.0.0.1%3A{port}&scheme=http&region=us-east-1"


def upload(folder: Path, port: int, prefix: str) -> None:
    """Put every file of a local run below a prefix of the bucket, as fast as the server takes them."""
    kept = local()

    def put(path: Path) -> None:
        if not hasattr(kept, "server"):
            kept.server = HTTPConnection("127.0.0.1", port)
        _put(kept.server, f"/{BUCKET}/{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    names = [p for p in folder.rglob("*") if p.is_file() and "cache" not in p.relative_to(folder).parts]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, names))


def _put(server: HTTPConnection, target: str, content: bytes) -> None:
    server.request(
        "PUT", target, content, {"Authorization": "AWS4-HMAC-SHA256 Credential=id/x/us-east-1/s3/x"}
    )
    answer = server.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise OSError(f"PUT {target}: {answer.status} {text[:200]!r}")
