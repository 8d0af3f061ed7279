"""An HTTP proxy before an S3 server that counts requests, delays them, fails some, or cuts connections."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

SLOW_DOWN = (503, b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>")
INTERNAL = (500, b"<Error><Code>InternalError</Code><Message>Try again.</Message></Error>")
CUT = (0, b"")
HALF = (-1, b"")
"""Faults: an answer instead of the server's; none at all; or half of the server's and the connection ends."""


@dataclass(frozen=True)
class Request:
    """One request: its kind (LIST, HEAD, GET, PUT, POST or DELETE) and the key of the object, or prefix."""

    kind: str
    key: str


Fault = Callable[[Request, int], tuple[int, bytes] | None]
"""What goes wrong with a request, given how often it came before; None where nothing does."""


@dataclass
class StoreProxy:
    """Serves on `port` while the block runs; ``fault`` and ``delay`` (seconds) may be set at any time."""

    target: int
    fault: Fault | None = None
    delay: float = 0.0
    requests: list[Request] = field(default_factory=list)
    seen: Counter[Request] = field(default_factory=Counter)

    def __enter__(self) -> StoreProxy:
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reset(self) -> None:
        """No fault, no delay, nothing counted."""
        self.fault, self.delay = None, 0.0
        self.requests.clear()
        self.seen.clear()

    def counts(self) -> Counter[str]:
        """Requests by kind."""
        return Counter(request.kind for request in self.requests)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    owner: StoreProxy

    def handle_any(self) -> None:
        body = self._body()
        request, owner = _request(self.command, self.path), self.owner
        owner.requests.append(request)
        before = owner.seen[request]
        owner.seen[request] += 1
        if owner.delay:
            time.sleep(owner.delay)
        fault = owner.fault(request, before) if owner.fault else None
        if fault is None or fault == HALF:
            self._forward(body, half=fault == HALF)
        elif fault == CUT:
            self.close_connection = True
        else:
            self._answer(fault[0], [("Content-Type", "application/xml")], fault[1])

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def _forward(self, body: bytes, half: bool) -> None:
        server = HTTPConnection("127.0.0.1", self.owner.target, timeout=30)
        dropped = ("connection", "transfer-encoding", "content-length", "expect")
        headers = {k: v for k, v in self.headers.items() if k.lower() not in dropped}
        server.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
        answer = server.getresponse()
        self._answer(answer.status, answer.getheaders(), answer.read(), half)
        server.close()

    def _answer(
        self, status: int, headers: list[tuple[str, str]], content: bytes, half: bool = False
    ) -> None:
        self.send_response_only(status)
        told = {k.lower(): v for k, v in headers}
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        length = told.get("content-length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if half else content)
        self.close_connection |= half

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _request(method: str, target: str) -> Request:
    url = urlsplit(target)
    query = parse_qs(url.query)
    if method == "GET" and ("list-type" in query or "prefix" in query):
        return Request("LIST", query.get("prefix", [""])[0])
    return Request(method, url.path.split("/", 2)[-1])
