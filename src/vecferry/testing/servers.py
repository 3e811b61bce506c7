"""Real servers for tests: a Qdrant and a Chroma of one's own, on loopback, gone when the test is.

    with start_qdrant() as server:            # or api_key="...", tls=True, settings={...}
        client = QdrantClient(url=server.http_url)
        server.kill(); server.start()         # same ports, same data: the server's own crash and recovery

Ports are the ones that the operating system hands out. Between our asking and the server's binding somebody else may
take one, so a server whose port turns out to be somebody else's is started again on others, up to five times.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

from vecferry.errors import Unavailable
from vecferry.testing.qdrant_binary import qdrant_binary
from vecferry.url import StoreUrl

HOST = "127.0.0.1"
READY_WITHIN_S = 60.0
STOPPED_WITHIN_S = 20.0
POLL_S = 0.02
PORT_ATTEMPTS = 5
LOG_TAIL_BYTES = 8_000
_LISTEN = "0A"
_NOT_INHERITED = ("QDRANT_", "CHROMA_", "ANONYMIZED_TELEMETRY")


class PortTaken(Unavailable):
    """Somebody else took the port between our asking for it and the server's binding it."""


@dataclass(kw_only=True)
class Server:
    """A server that we started, or (pid None) one that somebody else runs and that we never stop."""

    name: str
    http_url: str
    folder: Path
    api_key: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    """the certificate authority that signed the server's certificate, where it speaks TLS"""
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    ready_path: str = "/"
    ports: tuple[int, ...] = ()
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _guard: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int | None:
        """The process id while it runs; None for a server that is not ours."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def log_file(self) -> Path:
        """Everything that the server printed, over all its starts."""
        return self.folder / "server.log"

    def log(self) -> str:
        """What the server printed so far; empty for a server that is not ours."""
        return self.log_file.read_text(encoding="utf-8", errors="replace") if self.log_file.exists() else ""

    def start(self) -> Self:
        """Start (again) on the same ports and data, and wait until it answers.

        Raises:
            PortTaken: one of its ports belongs to somebody else.
            Unavailable: it ended or did not answer in time; the message holds the end of its log.
        """
        began = len(self.log())
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env={**_clean_environment(), **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C for the tests is not one for the server
            )
        self._guard = _guard(self._process.pid)
        try:
            self._wait_until_ready(began)
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """Ask it to end, and insist after a while. Does nothing to a server that is not ours."""
        self._end(signal.SIGTERM)
        self._end(signal.SIGKILL)

    def kill(self) -> None:
        """End it as a crash would: no flush, no goodbye. `start()` brings it back on the same data."""
        self._end(signal.SIGKILL)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hold its process (SIGSTOP): connections stay open and nothing is answered."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)

    def _end(self, with_signal: signal.Signals) -> None:
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None
        if self._process is None or self._process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, with_signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOPPED_WITHIN_S)

    def _wait_until_ready(self, began: int) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            fresh = self.log()[began:]
            if any(_stranger_listens(port, self.pid) for port in self.ports):
                raise PortTaken(f"A port of the {self.name} server is taken: {self.ports}.")
            if self.pid is None:
                raise Unavailable(f"The {self.name} server ended at once. Its log:\n{fresh[-LOG_TAIL_BYTES:]}")
            if self._answers() and not any(_stranger_listens(port, self.pid) for port in self.ports):
                return
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"The {self.name} server did not answer within {READY_WITHIN_S:.0f} s. Its log:\n"
                    f"{fresh[-LOG_TAIL_BYTES:]}"
                )
            time.sleep(POLL_S)

    def _answers(self) -> bool:
        context = ssl.create_default_context(cafile=self.ca_file) if self.ca_file else None
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),  # loopback never goes through the machine's proxy
            *([urllib.request.HTTPSHandler(context=context)] if context else []),
        )
        try:
            with opener.open(self.http_url + self.ready_path, timeout=2) as answer:
                ready = answer.status == 200
        except (OSError, urllib.error.URLError):
            return False
        return ready and all(_connects(port) for port in self.ports)


@dataclass(kw_only=True)
class QdrantServer(Server):
    """A Qdrant server; `http_url` is its REST address."""

    http_port: int
    grpc_port: int

    @property
    def url(self) -> str:
        """The store URL, without key."""
        return f"qdrant+{self.http_url}?grpc_port={self.grpc_port}"


@dataclass(kw_only=True)
class ChromaServer(Server):
    """A Chroma server (`chroma run`)."""

    port: int

    @property
    def url(self) -> str:
        """The store URL."""
        return f"chroma+{self.http_url}"


ServerT = TypeVar("ServerT", bound=Server)


@contextmanager
def start_qdrant(
    *,
    api_key: str | None = None,
    tls: bool = False,
    folder: Path | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[QdrantServer]:
    """Run a Qdrant server; `settings` are further `QDRANT__…` variables, `folder` keeps the data of an earlier one.

    Raises:
        Unavailable, Unsupported: the binary cannot be had (see `qdrant_binary`), or the server does not start.
    """
    binary = qdrant_binary()
    with _room("qdrant", folder) as room:
        secured = _certificate(room) if tls else {}
        extra = {**secured, **({"QDRANT__SERVICE__API_KEY": api_key} if api_key else {}), **(settings or {})}

        def build() -> QdrantServer:
            http_port, grpc_port = free_ports(2)
            return QdrantServer(
                name="Qdrant",
                http_url=f"{'https' if tls else 'http'}://{HOST}:{http_port}",
                http_port=http_port,
                grpc_port=grpc_port,
                ports=(http_port, grpc_port),
                folder=room,
                api_key=api_key,
                ca_file=room / "ca.pem" if tls else None,
                command=[str(binary)],
                environment={**_qdrant_environment(room, http_port, grpc_port), **extra},
                ready_path="/readyz",
            )

        yield from _run(build)


@contextmanager
def start_chroma(*, folder: Path | None = None, program: Path | None = None) -> Iterator[ChromaServer]:
    """Run a Chroma server (`chroma run`) of the chromadb installed here, or of `program` (another environment's).

    Raises:
        Unavailable: chromadb is not installed, or the server does not start.
    """
    chroma = program or _installed_chroma()
    with _room("chroma", folder) as room:

        def build() -> ChromaServer:
            (port,) = free_ports(1)
            return ChromaServer(
                name="Chroma",
                http_url=f"http://{HOST}:{port}",
                port=port,
                ports=(port,),
                folder=room,
                command=[str(chroma), "run", "--path", str(room / "data"), "--host", HOST, "--port", str(port)],
                environment={"ANONYMIZED_TELEMETRY": "False", "DO_NOT_TRACK": "1"},
                ready_path="/api/v2/heartbeat",
            )

        yield from _run(build)


def running_qdrant(url: str) -> QdrantServer:
    """Somebody else's server, named by a store URL; never stopped by us."""
    parsed = StoreUrl.parse(url if url.startswith("qdrant") else f"qdrant+{url}")
    http_port = parsed.port or 6333
    grpc_port = int(parsed.options.get("grpc_port", "6334"))
    key = parsed.secret("api_key")
    return QdrantServer(
        name="Qdrant",
        http_url=f"{parsed.transport or 'http'}://{parsed.host}:{http_port}",
        http_port=http_port,
        grpc_port=grpc_port,
        folder=Path(os.devnull),
        api_key=key.reveal() if key else None,
    )


def running_chroma(url: str) -> ChromaServer:
    """Somebody else's server, named by a store URL; never stopped by us."""
    parsed = StoreUrl.parse(url if url.startswith("chroma") else f"chroma+{url}")
    port = parsed.port or 8000
    http_url = f"{parsed.transport or 'http'}://{parsed.host}:{port}"
    return ChromaServer(name="Chroma", http_url=http_url, port=port, folder=Path(os.devnull))


def free_ports(count: int) -> list[int]:
    """`count` different loopback ports that nobody listens on right now."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]


def chroma_program() -> Path | None:
    """The `chroma` command of this environment, None where chromadb is not installed."""
    program = Path(sysconfig.get_path("scripts")) / "chroma"
    return program if program.exists() else None


def _run(build: Callable[[], ServerT]) -> Iterator[ServerT]:
    server = _started(build)
    try:
        yield server
    finally:
        server.stop()


def _started(build: Callable[[], ServerT]) -> ServerT:
    for _ in range(PORT_ATTEMPTS - 1):
        with contextlib.suppress(PortTaken):
            return build().start()
    return build().start()


def _guard(pid: int) -> subprocess.Popen[bytes]:
    """A shell that kills the server once we are gone, however that happened: our end of its input closes with us."""
    command = ["/bin/sh", "-c", 'read -r _; kill -s KILL -- "-$0"', str(pid)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


@contextmanager
def _room(name: str, folder: Path | None) -> Iterator[Path]:
    """The server's working folder: `folder` itself, or one that is removed afterwards."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.resolve()
        return
    room = Path(tempfile.mkdtemp(prefix=f"vecferry-{name}-")).resolve()
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _clean_environment() -> dict[str, str]:
    """Ours, without what would steer the server: the settings and keys of the user's own Qdrant or Chroma."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}


def _qdrant_environment(room: Path, http_port: int, grpc_port: int) -> dict[str, str]:
    return {
        "QDRANT__SERVICE__HOST": HOST,
        "QDRANT__SERVICE__HTTP_PORT": str(http_port),
        "QDRANT__SERVICE__GRPC_PORT": str(grpc_port),
        "QDRANT__STORAGE__STORAGE_PATH": str(room / "storage"),
        "QDRANT__STORAGE__SNAPSHOTS_PATH": str(room / "snapshots"),
        "QDRANT__TELEMETRY_DISABLED": "true",
        "QDRANT__LOG_LEVEL": "INFO",
    }


def _certificate(room: Path) -> dict[str, str]:
    """A certificate for loopback from an authority made for this one server; the settings that switch TLS on."""
    try:
        import trustme
    except ImportError as error:
        raise Unavailable("trustme is not installed.", hint='pip install "vecferry[testing]"') from error
    authority = trustme.CA()
    issued = authority.issue_cert(HOST, "localhost")
    authority.cert_pem.write_to_path(room / "ca.pem")
    issued.private_key_pem.write_to_path(room / "key.pem")
    (room / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return {
        "QDRANT__SERVICE__ENABLE_TLS": "true",
        "QDRANT__TLS__CERT": str(room / "cert.pem"),
        "QDRANT__TLS__KEY": str(room / "key.pem"),
        "QDRANT__TLS__CA_CERT": str(room / "ca.pem"),
    }


def _installed_chroma() -> Path:
    program = chroma_program()
    if program is None:
        raise Unavailable("chromadb is not installed here.", hint='pip install "vecferry[chroma-local]"')
    return program


def _connects(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _stranger_listens(port: int, pid: int | None) -> bool:
    """True where a process other than `pid` listens on loopback `port` (asks Linux's /proc; elsewhere False).

    A server that cannot bind its second port may go on serving the first, and whoever holds the second one answers.
    """
    listening = _listening_sockets(port)
    return bool(listening) and not (listening & _sockets_of(pid))


def _listening_sockets(port: int) -> set[str]:
    """Inodes of the TCP sockets that listen on `port`."""
    rows = [line.split() for table in ("/proc/net/tcp", "/proc/net/tcp6") for line in _lines(Path(table))[1:]]
    return {row[9] for row in rows if row[3] == _LISTEN and int(row[1].rpartition(":")[2], 16) == port}


def _sockets_of(pid: int | None) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):  # the process ends while we look: then it holds none
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found.add(str(link.readlink()).removeprefix("socket:[").removesuffix("]"))
    return found


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
