"""What doubles of an HTTP interface stand on: a server in threads of this process, and refusals that a test orders."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from vecferry.testing.ports import HOST

Reply = tuple[int, Mapping[str, str], bytes]
"""Status, headers, body"""
Answer = Callable[[str, str, Mapping[str, str], bytes], Reply]
"""Method, path with query, headers (names in lower case) and body of a request to a double's own answer"""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that a test wants instead of the double's own."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b'{"error": {"message": "refused by the double", "type": "double"}}'

    @property
    def reply(self) -> Reply:
        return self.status, self.headers, self.body


class HttpDouble:
    """Answers on a loopback port of its own until the block ends; every connection has a thread."""

    def __init__(self, answer: Answer) -> None:
        self._server = _Server((HOST, 0), _Handler)
        self._server.answer = answer
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def http_url(self) -> str:
        """Where it answers, without a path."""
        return f"http://{HOST}:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    answer: Answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _reply(self) -> None:
        given = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, told, body = self.server.answer(self.command, self.path, headers, given)
        self.send_response(status)
        for name, value in {"Content-Type": "application/json; charset=utf-8", **told}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PATCH = do_DELETE = _reply  # noqa: N815  the names http.server calls

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        """Nothing: a test says itself what it wants to know."""
