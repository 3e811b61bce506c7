"""The HTTP side of the Chroma Cloud double: requests with their operation named, answers, the real server behind it."""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import orjson

from vecferry.testing.ports import HOST
from vecferry.testing.proxy import Fault

TIMEOUT_S = 120.0
_API = "/api/v2/"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_NOT_FORWARDED = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "x-chroma-token"}
)
_NOT_RETURNED = frozenset({"connection", "content-length", "transfer-encoding", "date"})
_HTML = b"<!DOCTYPE html><html><head><title>Bad gateway</title></head><body><h1>Bad gateway</h1></body></html>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Html(Fault):
    """A page for people instead of an answer, as load balancers and login portals send it."""

    status: int = 502


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request.

    Attributes:
        operation: `get`, `upsert` … on a collection, `create`, `modify`, `drop`, `collections`, `tenant` …, or
            `forbidden` (what no key may do) and `unknown` (a path that is not Cloud's).
        collection: what the path names: an id, or a name.
        content: the JSON object in the body; None where there is no body, or something else in it.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""
    operation: str = "unknown"
    tenant: str = ""
    database: str = ""
    collection: str = ""
    content: dict[str, Any] | None = None

    @classmethod
    def read(cls, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Request:
        """The request with its operation and content."""
        parts = [unquote(part) for part in urlsplit(path).path.removeprefix(_API).split("/")]
        here = urlsplit(path).path.startswith(_API)
        tenant, database, collection = [*(parts[1:6:2] if parts[0] == "tenants" else []), "", "", ""][:3]
        return cls(
            method=method,
            path=path,
            headers={name.lower(): value for name, value in headers.items()},
            body=body,
            operation=_operation(method, parts) if here else "unknown",
            tenant=tenant,
            database=database,
            collection=collection,
            content=_object(body),
        )

    @property
    def ids(self) -> int:
        """How many ids it names."""
        ids = (self.content or {}).get("ids")
        return len(ids) if isinstance(ids, list) else 0

    @property
    def limit(self) -> int | None:
        """Results that it asks for at most; None where it does not say."""
        content = self.content or {}
        limit = content.get("limit", content.get("n_results"))
        return limit if isinstance(limit, int) else None

    def with_content(self, content: dict[str, Any]) -> Request:
        return replace(self, content=content, body=orjson.dumps(content))

    def aside(self, operation: str, content: dict[str, Any] | None = None) -> Request:
        """Another request on the same collection, for the double's own use."""
        room = f"tenants/{quote(self.tenant, safe='')}/databases/{quote(self.database, safe='')}"
        path = f"{_API}{room}/collections/{quote(self.collection, safe='')}/{operation}"
        method = "GET" if content is None else "POST"
        headers = {"content-type": "application/json"}
        return Request.read(method, path, headers, b"" if content is None else orjson.dumps(content))


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; `cut` is the number of body bytes after which the connection is reset, None for a whole one."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None

    @classmethod
    def of(cls, content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
        return cls(status, orjson.dumps(content), {"content-type": "application/json", **(headers or {})})

    @classmethod
    def refusal(cls, status: int, text: str, *, error: str = "ChromaError", retry_after: float | None = None) -> Answer:
        """An error in Chroma's form: `{"error": CLASS, "message": TEXT}`."""
        headers = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
        return cls.of({"error": error, "message": text}, status, headers)

    @classmethod
    def page(cls, status: int) -> Answer:
        """HTML."""
        return cls(status, _HTML, {"content-type": "text/html; charset=utf-8"})


class Upstream:
    """One connection to the real server, for one connection of a client: when it breaks, so does the client's."""

    def __init__(self, http_url: str) -> None:
        self._line = http.client.HTTPConnection(urlsplit(http_url).netloc, timeout=TIMEOUT_S)

    def ask(self, request: Request) -> Answer:
        """The real server's answer.

        Raises:
            OSError, http.client.HTTPException: it is gone, or broke off.
        """
        headers = {name: value for name, value in request.headers.items() if name not in _NOT_FORWARDED}
        self._line.request(request.method, request.path, request.body or None, headers)
        answer = self._line.getresponse()
        returned = {name: value for name, value in answer.getheaders() if name.lower() not in _NOT_RETURNED}
        return Answer(answer.status, answer.read(), returned)

    def close(self) -> None:
        self._line.close()


Handle = Callable[[Request, Upstream], Answer]


class Proxy(ThreadingHTTPServer):
    """An HTTP server on a loopback port; `handle` answers, in a thread per connection.

    Attributes:
        crashes: what `handle` raised that was no broken connection: errors of the double itself.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, upstream_url: str, handle: Handle) -> None:
        super().__init__((HOST, 0), _Handler)
        self.upstream_url, self.handle = upstream_url, handle
        self.crashes: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Proxy

    def handle(self) -> None:
        self.upstream = Upstream(self.server.upstream_url)
        try:
            super().handle()
        except (OSError, http.client.HTTPException):
            self._reset()
        except Exception:  # noqa: BLE001  shown by start_cloud_double, which ends with it
            self.server.crashes.append(traceback.format_exc())
            self._reset()
        finally:
            self.upstream.close()

    def _answer(self) -> None:
        if "transfer-encoding" in self.headers:
            self._send(Answer.refusal(411, "The double reads bodies with a Content-Length only."))
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        request = Request.read(self.command, self.path, dict(self.headers.items()), body)
        self._send(self.server.handle(request, self.upstream))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815  the names http.server calls

    def _send(self, answer: Answer) -> None:
        if answer.cut == 0:
            self._reset()
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body[: answer.cut])
        if answer.cut is not None:
            self._reset()

    def _reset(self) -> None:
        """End the connection as a broken line would, not with an orderly goodbye."""
        self.close_connection = True
        with contextlib.suppress(OSError):  # it is closed already
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            socket.close(self.connection.detach())  # at once: http.server itself would say goodbye first

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        """Nothing: a test says itself what it wants to know."""


_COLLECTIONS = {"GET": "collections", "POST": "create"}
_COLLECTION = {"GET": "collection", "PUT": "modify", "DELETE": "drop"}


def _operation(method: str, parts: list[str]) -> str:
    """The operation of a path below /api/v2/, split at its slashes."""
    match parts:
        case ["heartbeat" | "healthcheck" | "version" | "pre-flight-checks" as name]:
            return name
        case ["auth", "identity"]:
            return "identity"
        case ["reset"] | ["tenants"] | ["tenants", _, "databases"] if method == "POST":
            return "forbidden"
        case ["tenants", _] | ["tenants", _, "databases"]:
            return "tenant" if method == "GET" else "forbidden"
        case ["tenants", _, "databases", _]:
            return "database" if method == "GET" else "forbidden"
        case ["tenants", _, "databases", _, "collections"]:
            return _COLLECTIONS.get(method, "unknown")
        case ["tenants", _, "databases", _, "collections_count" as name]:
            return name
        case ["tenants", _, "databases", _, "collections", _]:
            return _COLLECTION.get(method, "unknown")
        case ["tenants", _, "databases", _, "collections", _, name]:
            return name
    return "unknown"


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return content if isinstance(content, dict) else None
