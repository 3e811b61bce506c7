"""A double of Chroma Cloud: a real Chroma server, and before it a proxy that refuses what Cloud refuses.

    with start_cloud_double(quotas=CloudQuotas(collection_records=877)) as double:
        ...                                     # talk to double.url with the key double.token
        double.inject(Throttle(times=3), at="upsert", skip=2)
        assert double.seen.largest_write <= 300

It is not Cloud, and no test with it is one with Cloud. What is documented, what others saw and what is our guess:
docs/explanation/cloud-double.md. Records, filters and searches are the real server's; the key, tenant and database,
quotas, concurrency, rates and Cloud's sparse vectors are the proxy's.
"""

from __future__ import annotations

import sys
import threading
import time
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

import orjson

from vecferry.testing import cloud_sparse
from vecferry.testing.cloud_http import Answer, Html, Proxy, Request, Upstream
from vecferry.testing.cloud_quotas import ACTIONS, CloudQuotas, broken, message
from vecferry.testing.ports import HOST
from vecferry.testing.proxy import CutResponse, Delay, Fault, Pass, Reset, Throttle
from vecferry.testing.servers import ChromaServer, start_chroma

READS = frozenset({"get", "query", "count", "search"})
WRITES = frozenset({"add", "upsert", "update", "delete"})
OPEN = frozenset({"heartbeat", "healthcheck", "version", "pre-flight-checks"})
"""operations that answer without a key"""
DECLARED_BATCH = 1000
"""what Cloud's pre-flight checks say, although a write of more than 300 records is refused (seen by others)"""
TOO_MANY = "Too many requests; backoff and try again"


@dataclass(slots=True)
class Seen:
    """What was asked of the double so far, refused requests included.

    Attributes:
        requests: operation -> how many; refused: status -> how many answers, injected ones included.
        largest_write: records of the largest write; largest_read: the largest `limit`, or number of ids without one.
        unlimited_reads: reads that named neither a limit nor few enough ids: Cloud cuts them without a word.
        most: "read" and "write" -> the most that ran in one collection at the same time.
        largest_body: bytes of the largest request.
    """

    requests: Counter[str] = field(default_factory=Counter)
    refused: Counter[int] = field(default_factory=Counter)
    largest_write: int = 0
    largest_read: int = 0
    unlimited_reads: int = 0
    most: Counter[str] = field(default_factory=Counter)
    largest_body: int = 0

    def count(self, request: Request, results_per_read: int) -> None:
        """Take a request into account."""
        self.requests[request.operation] += 1
        self.largest_body = max(self.largest_body, len(request.body))
        if request.operation in WRITES:
            self.largest_write = max(self.largest_write, request.ids)
        elif request.operation in {"get", "query"}:
            self.largest_read = max(self.largest_read, request.limit or request.ids)
            unlimited = request.limit is None and not 0 < request.ids <= results_per_read
            self.unlimited_reads += unlimited and request.operation == "get"


@dataclass(slots=True)
class _Injected:
    """A fault, the operation that it waits for ("": any), and what became of it."""

    fault: Fault
    at: str = ""
    skip: int = 0
    fired: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def due(self, operation: str) -> bool:
        """Count one request; True where the fault happens to it."""
        if isinstance(self.fault, Pass) or self.at not in {"", operation}:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.fault.times is not None and self.fired >= self.fault.times:
            return False
        self.fired += 1
        return True


@dataclass(kw_only=True)
class CloudDouble:
    """A running double. `quotas` may be replaced while it runs, as by a larger plan; thread-safe.

    Attributes:
        chroma: the real server behind it, to seed and to look into around the double.
        retry_after: seconds, in answers to rate and concurrency limits; None: they do not say when to come back.
    """

    chroma: ChromaServer
    tenant: str
    database: str
    token: str = field(repr=False)
    quotas: CloudQuotas
    retry_after: float | None = 1.0
    seen: Seen = field(default_factory=Seen)
    port: int = 0
    _injected: _Injected = field(default_factory=lambda: _Injected(Pass()), repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _room: defaultdict[str, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock), repr=False)
    _running: Counter[tuple[str, str]] = field(default_factory=Counter, repr=False)
    _times: deque[float] = field(default_factory=deque, repr=False)

    @property
    def http_url(self) -> str:
        """The address that stands for Cloud's."""
        return f"http://{HOST}:{self.port}"

    @property
    def url(self) -> str:
        """The store URL, without key."""
        return f"chroma+cloud://{self.tenant}/{self.database}?endpoint={self.http_url}"

    @property
    def headers(self) -> dict[str, str]:
        """What a client sends to be let in."""
        return {"x-chroma-token": self.token}

    def inject(self, fault: Fault, *, at: str = "", skip: int = 0) -> None:
        """From now on `fault` happens to requests of the operation `at` ("" for all), after `skip` of them.

        `Throttle` (any status, in Chroma's error form), `Html`, `Delay`, `Reset` (the answer breaks off after so many
        bytes), `CutResponse` (carried out, no answer), and `Pass` for an end of it.
        """
        with self._lock:
            ended, self._injected = self._injected, _Injected(fault, at, skip)
        ended.over.set()

    @property
    def fired(self) -> int:
        """How often the current fault happened."""
        return self._injected.fired

    def handle(self, request: Request, upstream: Upstream) -> Answer:
        """The answer to one request.

        Raises:
            OSError, http.client.HTTPException: the real server is gone; the client's connection ends the same way.
        """
        with self._lock:
            self.seen.count(request, self.quotas.results_per_read)
            injected = self._injected
            fault = injected.fault if injected.due(request.operation) else Pass()
        with self._slot(request) as free:
            answer = self._faulty(request, upstream, fault, injected.over) if free else self._too_many()
        if answer.status >= 400:
            with self._lock:
                self.seen.refused[answer.status] += 1
        return answer

    def _faulty(self, request: Request, upstream: Upstream, fault: Fault, over: threading.Event) -> Answer:
        match fault:
            case Throttle(status=status, retry_after=retry_after):
                text = TOO_MANY if status == 429 else "injected by a test"
                return Answer.refusal(status, text, retry_after=retry_after)
            case Html(status=status):
                return Answer.page(status)
            case Delay(seconds=seconds):
                over.wait(seconds)
            case Reset(after=after):
                return replace(self._judged(request, upstream), cut=after)
            case CutResponse():
                return replace(self._judged(request, upstream), cut=0)
        return self._judged(request, upstream)

    def _judged(self, request: Request, upstream: Upstream) -> Answer:
        """Refuse what may not be asked, and pass the rest on."""
        if (answer := self._closed(request) or self._own(request)) is not None:
            return answer
        content = request.content
        if content is None or request.operation not in ACTIONS:
            return upstream.ask(request)
        if (text := broken(request.operation, content, self.quotas)) is not None:
            return Answer.refusal(422, text)
        if request.operation in WRITES:
            return self._written(request, upstream)
        if request.operation == "get" and content.get("limit") is None:
            request = request.with_content({**content, "limit": self.quotas.results_per_read})
        return cloud_sparse.shown(upstream.ask(request))

    def _closed(self, request: Request) -> Answer | None:
        """The answer to who has no key, wants what is not his, or asks too often."""
        if request.operation in OPEN:
            return None
        if request.headers.get("x-chroma-token") != self.token:
            return Answer.refusal(401, "Unauthorized")
        if request.operation == "unknown":
            return Answer(404, b"")
        mine = (request.tenant, request.database) in {(self.tenant, self.database), (self.tenant, ""), ("", "")}
        if not mine or request.operation == "forbidden":
            return Answer.refusal(403, "Permission denied.")
        return None if self._in_time() else self._too_many()

    def _own(self, request: Request) -> Answer | None:
        """What the double answers itself: as Cloud does, and the server behind it does not."""
        if request.operation == "pre-flight-checks":
            return Answer.of({"max_batch_size": DECLARED_BATCH, "supports_base64_encoding": True})
        if request.operation == "identity":
            return Answer.of({"user_id": "double", "tenant": self.tenant, "databases": [self.database]})
        return None

    def _too_many(self) -> Answer:
        return Answer.refusal(429, TOO_MANY, retry_after=self.retry_after)

    def _written(self, request: Request, upstream: Upstream) -> Answer:
        content = request.content or {}
        if (text := cloud_sparse.invalid(content.get("metadatas"))) is not None:
            return Answer.refusal(400, text, error="InvalidArgumentError")
        if request.operation not in {"add", "upsert"}:
            return upstream.ask(cloud_sparse.hidden(request))
        with self._room[request.collection]:  # two writes must not both take the last place
            if (text := self._full(request, content, upstream)) is not None:
                return Answer.refusal(422, text)
            return upstream.ask(cloud_sparse.hidden(request))

    def _full(self, request: Request, content: Mapping[str, Any], upstream: Upstream) -> str | None:
        """The message where the records that a write brings do not fit any more. Records replaced need no room."""
        counted, limit = upstream.ask(request.aside("count")), self.quotas.collection_records
        if counted.status != 200 or int(counted.body) + request.ids <= limit:
            return None
        found = upstream.ask(request.aside("get", {"ids": content["ids"], "include": []}))
        new = request.ids - len(orjson.loads(found.body)["ids"])
        after = int(counted.body) + new
        return message(request.operation, "Collection size (records)", after, limit) if new and after > limit else None

    @contextmanager
    def _slot(self, request: Request) -> Iterator[bool]:
        """A place among the requests of one kind that may run in a collection at a time; False: there is none."""
        kind = "read" if request.operation in READS else "write" if request.operation in WRITES else ""
        allowed = {"read": self.quotas.concurrent_reads, "write": self.quotas.concurrent_writes, "": sys.maxsize}[kind]
        key = (request.collection, kind)
        with self._lock:
            self._running[key] += 1
            running = self._running[key]
            self.seen.most[kind] = max(self.seen.most[kind], running)
        try:
            yield running <= allowed
        finally:
            with self._lock:
                self._running[key] -= 1

    def _in_time(self) -> bool:
        """Whether this request is within the rate; it counts where it is."""
        rate, now = self.quotas.requests_per_second, time.monotonic()
        with self._lock:
            while self._times and self._times[0] <= now - 1:
                self._times.popleft()
            if rate is not None and len(self._times) >= rate:
                return False
            self._times.append(now)
            return True


@contextmanager
def start_cloud_double(
    chroma: ChromaServer | None = None,
    *,
    tenant: str | None = None,
    database: str = "production",
    token: str = "ck-double-of-a-key",  # noqa: S107  of nobody
    quotas: CloudQuotas | None = None,
) -> Iterator[CloudDouble]:
    """Run a double before `chroma` (default: a server of its own), with a new tenant that has one database.

    Raises:
        Unavailable: chromadb is not installed, or its server does not start.
        RuntimeError: the double itself failed at a request; the message holds the traceback.
    """
    with ExitStack() as stack:
        server = chroma or stack.enter_context(start_chroma())
        double = CloudDouble(
            chroma=server,
            tenant=tenant or str(uuid.uuid4()),
            database=database,
            token=token,
            quotas=quotas or CloudQuotas(),
        )
        _make_rooms(double)
        proxy = stack.enter_context(Proxy(server.http_url, double.handle))
        double.port = proxy.server_address[1]
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield double
        finally:
            double.inject(Pass())  # who waits in a fault goes on
            proxy.shutdown()
            thread.join()
        if proxy.crashes:
            raise RuntimeError("The double failed:\n" + "\n".join(proxy.crashes))


def _make_rooms(double: CloudDouble) -> None:
    """The tenant and its database on the real server; those that are there already are taken."""
    upstream = Upstream(double.chroma.http_url)
    headers = {"content-type": "application/json"}
    for path, name in (("tenants", double.tenant), (f"tenants/{quote(double.tenant)}/databases", double.database)):
        body = orjson.dumps({"name": name})
        upstream.ask(Request(method="POST", path=f"/api/v2/{path}", headers=headers, body=body))
    upstream.close()
