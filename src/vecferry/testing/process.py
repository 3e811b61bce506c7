"""A server as a process of ours: started, waited for, killed, and never left behind.

Ports are the ones that the operating system hands out. Between our asking and the server's binding somebody else may
take one, so a server whose port turns out to be somebody else's is started again on others, up to five times.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

from vecferry.errors import Unavailable
from vecferry.testing.ports import connects, stranger_listens

READY_WITHIN_S = 60.0
STOPPED_WITHIN_S = 20.0
POLL_S = 0.02
PORT_ATTEMPTS = 5
LOG_TAIL_BYTES = 8_000
_NOT_INHERITED = ("QDRANT_", "CHROMA_", "ANONYMIZED_TELEMETRY", "PG", "MYSQL_", "MARIADB_")
_NOBODY = 65534


class PortTaken(Unavailable):
    """Somebody else took the port between our asking for it and the server's binding it."""


@dataclass(kw_only=True)
class Server:
    """A server that we started, or (pid None) one that somebody else runs and that we never stop."""

    name: str
    folder: Path
    ca_file: Path | None = None
    """the certificate authority that signed the server's certificate, where it speaks TLS"""
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    ports: tuple[int, ...] = ()
    stop_signal: signal.Signals = signal.SIGTERM
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
        self._end(self.stop_signal)
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
            if any(stranger_listens(port, self.pid) for port in self.ports):
                raise PortTaken(f"A port of the {self.name} server is taken: {self.ports}.", hint="Take other ports.")
            if self.pid is None:
                raise Unavailable(f"The {self.name} server ended at once.", hint=_its_log(self.log()[began:]))
            if self._answers() and not any(stranger_listens(port, self.pid) for port in self.ports):
                return
            if time.monotonic() > deadline:
                said = _its_log(self.log()[began:])
                raise Unavailable(f"The {self.name} server did not answer within {READY_WITHIN_S:.0f} s.", hint=said)
            time.sleep(POLL_S)

    def _answers(self) -> bool:
        """True once it serves; asked again and again after a start."""
        return all(connects(port) for port in self.ports)


@dataclass(kw_only=True)
class HttpServer(Server):
    """A server that speaks HTTP: it is ready once `ready_path` answers one of `ready_statuses`."""

    http_url: str
    api_key: str | None = field(default=None, repr=False)
    ready_path: str = "/"
    ready_statuses: Container[int] = (200,)

    def _answers(self) -> bool:
        try:
            context = ssl.create_default_context(cafile=self.ca_file) if self.ca_file else None
            opener = urllib.request.build_opener(
                urllib.request.ProxyHandler({}),  # loopback never goes through the machine's proxy
                *([urllib.request.HTTPSHandler(context=context)] if context else []),
            )
            with opener.open(self.http_url + self.ready_path, timeout=2) as answer:
                status = answer.status
        except urllib.error.HTTPError as error:
            status = error.code
        except (OSError, urllib.error.URLError):  # its certificate may not be written yet, either
            return False
        return status in self.ready_statuses and super()._answers()


ServerT = TypeVar("ServerT", bound=Server)


def running(build: Callable[[], ServerT]) -> Iterator[ServerT]:
    """What `build` makes, started, and stopped afterwards; built again on other ports where one of its was taken."""
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
def room_for(name: str, folder: Path | None) -> Iterator[Path]:
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


def unprivileged() -> list[str]:
    """What to put before a command whose program refuses to run as root: nothing where we are not root.

    The program runs as nobody and may still reach what lies in root's folders. setpriv belongs to util-linux.
    """
    if os.geteuid() != 0:
        return []
    user = [f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
    reach = ["--securebits=+no_setuid_fixup", "--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return ["setpriv", *user, *reach]


def hand_over(folder: Path) -> None:
    """Make `folder` where it is not there yet, owned by whoever `unprivileged` commands run as."""
    folder.mkdir(exist_ok=True, mode=0o700)
    if os.geteuid() == 0:
        os.chown(folder, _NOBODY, _NOBODY)


def ran(*command: str, given: str = "") -> str:
    """What `command` printed, with `given` as its input; it prepares a server and has to succeed.

    Raises:
        Unavailable: it failed; the message holds what it said.
    """
    done = subprocess.run(
        command, input=given, env=_clean_environment(), check=False, capture_output=True, text=True, cwd="/"
    )
    if done.returncode:
        raise Unavailable(f"{command[0]} failed.", hint=_its_log(done.stdout + done.stderr))
    return done.stdout


def _clean_environment() -> dict[str, str]:
    """Ours, without what would steer the server: the settings and keys of the user's own."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}


def _its_log(text: str) -> str:
    """Advice: the end of a server's log."""
    return f"Its log says why:\n{text[-LOG_TAIL_BYTES:]}"
