"""A TCP proxy between vecferry and a server that does to the line what networks do, when a test says so.

    with FaultProxy(server.http_port) as proxy:
        proxy.fault = CutResponse(times=1)      # from now on, for every connection; Pass() ends it
        ...                                     # talk to 127.0.0.1:proxy.port
        assert proxy.fired == 1                 # the fault really happened

Works for HTTP/1.1 and for gRPC (HTTP/2), both without TLS where a fault has to know what it looks at (`CutResponse`,
`Throttle`). Throttle speaks HTTP/1.1 only: for gRPC let Qdrant itself refuse (strict mode's rate limits).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Any, Self

HOST = "127.0.0.1"
PIECE_BYTES = 65_536
_HTTP2_PREFACE = b"PRI * HTTP/2.0"
_HEADERS_FRAME = 1
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Way(Enum):
    """Which half of a connection."""

    REQUEST = "request"
    RESPONSE = "response"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to the line. After `times` times it does not happen any more; None: every time."""

    times: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass(Fault):
    """Nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset(Fault):
    """The connection is reset once `after` more bytes went that way."""

    after: int = 0
    way: Way = Way.RESPONSE


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall(Fault):
    """After `after` more bytes nothing goes that way any more, and nobody is told. Ends with the next fault."""

    after: int = 0
    way: Way = Way.RESPONSE


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay(Fault):
    """Everything arrives `seconds` later, in both directions."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CutResponse(Fault):
    """The request goes through and is carried out; instead of the answer comes a reset. `skip` answers pass first."""

    skip: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse(Fault):
    """Nobody listens, as if the server were down; open connections are reset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle(Fault):
    """HTTP requests are answered with `status` and, unless None, a Retry-After in seconds; the server sees nothing."""

    status: int = 429
    retry_after: float | None = 1.0


@dataclass
class _Turn:
    """One fault from the moment it was set; a new one begins with every assignment."""

    fault: Fault
    over: asyncio.Event = field(default_factory=asyncio.Event)
    fired: int = 0
    answers: int = 0

    def fire(self) -> bool:
        """Count the fault as happening now; False where it happened often enough."""
        if self.fault.times is not None and self.fired >= self.fault.times:
            return False
        self.fired += 1
        return True


class FaultProxy:
    """Forwards loopback connections to `port` of `host`, as `fault` says. A context manager; thread-safe."""

    def __init__(self, port: int, *, host: str = HOST) -> None:
        self._target = (host, port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._turn = _Turn(Pass())
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._socket = _bound(0)
        self.port: int = self._socket.getsockname()[1]
        self.connections = 0
        """how many connections were accepted so far"""

    @property
    def http_url(self) -> str:
        """The proxy's address for HTTP."""
        return f"http://{HOST}:{self.port}"

    @property
    def fault(self) -> Fault:
        """What happens now; assign to change it."""
        return self._turn.fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        self._call(self._switch(fault))

    @property
    def fired(self) -> int:
        """How often the current fault happened."""
        return self._turn.fired

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _switch(self, fault: Fault) -> None:
        ended, self._turn = self._turn, _Turn(fault)
        ended.over.set()
        if isinstance(fault, Refuse):
            self._turn.fire()
            await self._deafen()
        elif self._listener is None:
            await self._listen()

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._accept, sock=self._socket)

    async def _deafen(self) -> None:
        """Stop listening, but keep the port: a socket that is bound and does not listen refuses connections."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            self._socket = _bound(self.port)
        for link in list(self._links):
            link.reset()

    async def _shut(self) -> None:
        self._turn.over.set()
        await self._deafen()
        self._socket.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            server = await asyncio.open_connection(*self._target)
        except OSError:  # the server itself is down: what the client would have seen
            _reset(writer)
            return
        link = _Link(self, (reader, writer), server)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)


_Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """One connection of a client and ours to the server."""

    def __init__(self, proxy: FaultProxy, client: _Stream, server: _Stream) -> None:
        self.proxy, self.client, self.server = proxy, client, server
        self.turn: _Turn | None = None
        self.sent = {Way.REQUEST: 0, Way.RESPONSE: 0}
        self.last_way = Way.RESPONSE
        self.http2: _Frames | None = None
        self.request = bytearray()
        self.gone = False

    async def run(self) -> None:
        """Forward both ways until both are at their end."""
        ways = (
            self._pump(self.client[0], self.server[1], Way.REQUEST),
            self._pump(self.server[0], self.client[1], Way.RESPONSE),
        )
        try:
            await asyncio.gather(*ways)
        except OSError:
            self.reset()  # one side broke off: tell the other in the same words
        finally:
            for _, writer in (self.client, self.server):
                writer.close()

    def reset(self) -> None:
        """Break the connection on both sides."""
        self.gone = True
        _reset(self.client[1])
        _reset(self.server[1])

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        while not self.gone and (piece := await reader.read(PIECE_BYTES)):
            if way is Way.REQUEST and not self.sent[way] and piece.startswith(_HTTP2_PREFACE):
                self.http2 = _Frames()
            begins = self._answers_in(piece) if way is Way.RESPONSE else []
            await self._forward(piece, writer, way, begins)
            self.last_way = way
        if not self.gone:
            writer.write_eof()

    def _answers_in(self, piece: bytes) -> list[int]:
        """Where in `piece` an answer begins."""
        if self.http2:
            return self.http2.answers(piece)
        return [0] if self.last_way is Way.REQUEST else []

    async def _forward(self, piece: bytes, writer: asyncio.StreamWriter, way: Way, begins: list[int]) -> None:
        turn = self.proxy._turn  # noqa: SLF001
        if self.turn is not turn:
            self.turn, self.sent = turn, dict.fromkeys(self.sent, 0)
        match turn.fault:
            case Delay(seconds=seconds) if turn.fire():
                await asyncio.sleep(seconds)
            case Reset() | Stall() as fault if fault.way is way and self.sent[way] + len(piece) > fault.after:
                return await self._break(turn, fault, piece, writer)
            case CutResponse(skip=skip) if begins:
                turn.answers += len(begins)
                if turn.answers > skip and turn.fire():
                    return self.reset()
            case Throttle() as fault if way is Way.REQUEST and not self.http2:
                return await self._throttle(turn, fault, piece, writer)
        await self._send(piece, writer, way)
        return None

    async def _break(self, turn: _Turn, fault: Reset | Stall, piece: bytes, writer: asyncio.StreamWriter) -> None:
        if not turn.fire():
            return await self._send(piece, writer, fault.way)
        allowed = max(fault.after - self.sent[fault.way], 0)
        await self._send(piece[:allowed], writer, fault.way)
        if isinstance(fault, Reset):
            return self.reset()
        await turn.over.wait()
        if not self.gone:
            await self._forward(piece[allowed:], writer, fault.way, [])
        return None

    async def _throttle(self, turn: _Turn, fault: Throttle, piece: bytes, writer: asyncio.StreamWriter) -> None:
        """Collect the whole request, then answer it instead of the server."""
        self.request += piece
        if not _complete(self.request):
            return
        request, self.request = bytes(self.request), bytearray()
        if not turn.fire():
            await self._send(request, writer, Way.REQUEST)
            return
        again = f"Retry-After: {fault.retry_after:g}\r\n" if fault.retry_after is not None else ""
        head = f"HTTP/1.1 {fault.status} Refused by the proxy\r\n{again}Content-Length: 0\r\nConnection: close\r\n\r\n"
        client = self.client[1]
        client.write(head.encode())
        await client.drain()
        client.write_eof()
        self.gone = True
        self.server[1].close()

    async def _send(self, piece: bytes, writer: asyncio.StreamWriter, way: Way) -> None:
        self.sent[way] += len(piece)
        writer.write(piece)
        await writer.drain()


class _Frames:
    """Follows the server's half of an HTTP/2 connection, to find where an answer begins."""

    def __init__(self) -> None:
        self.head = bytearray()
        self.payload_left = 0
        self.answered: set[int] = set()

    def answers(self, piece: bytes) -> list[int]:
        """Offsets in `piece` at which the first HEADERS frame of a stream begins (0 where its head began earlier)."""
        found, at = [], 0
        while at < len(piece):
            skipped = min(self.payload_left, len(piece) - at)
            self.payload_left -= skipped
            at += skipped
            missing = 9 - len(self.head)
            begin, self.head = max(at - len(self.head), 0), self.head + piece[at : at + missing]
            at += missing
            if len(self.head) == 9:
                found += [begin] * self._is_new_answer()
                self.payload_left = int.from_bytes(self.head[:3])
                self.head = bytearray()
        return found

    def _is_new_answer(self) -> bool:
        stream = int.from_bytes(self.head[5:9]) & 0x7FFF_FFFF
        new = self.head[3] == _HEADERS_FRAME and stream not in self.answered
        if new:
            self.answered.add(stream)
        return new


def _complete(request: bytearray) -> bool:
    """True where `request` holds its head and all of its body."""
    head, separator, body = bytes(request).partition(b"\r\n\r\n")
    if not separator:
        return False
    if re.search(rb"(?i)^transfer-encoding:.*chunked", head, re.MULTILINE):
        return body.endswith(b"0\r\n\r\n")
    length = re.search(rb"(?i)^content-length:\s*(\d+)", head, re.MULTILINE)
    return len(body) >= (int(length[1]) if length else 0)


def _bound(port: int) -> socket.socket:
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind((HOST, port))
    return one


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a TCP reset instead of an orderly end."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
