"""Who holds a run: names of processes, and whether such a process can still be alive."""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Owner:
    """One holder of a lease. `started` tells a process from a later one with the same number, where the OS says it."""

    host: str
    pid: int
    started: str
    nonce: str

    @classmethod
    def me(cls) -> Owner:
        """A new owner: this process, and a random part for this one lease."""
        pid = os.getpid()
        return cls(socket.gethostname(), pid, _started(pid) or "", secrets.token_hex(4))

    @classmethod
    def parse(cls, text: str) -> Owner | None:
        """The owner that `str()` wrote; None for the empty text of a released lease."""
        if not text:
            return None
        host, pid, started, nonce = text.rsplit(" ", 3)
        return cls(host, int(pid), "" if started == "-" else started, nonce)

    def __str__(self) -> str:
        return f"{self.host} {self.pid} {self.started or '-'} {self.nonce}"

    @property
    def shown(self) -> str:
        """For a person."""
        return f"process {self.pid} on {self.host}"

    @property
    def certainly_dead(self) -> bool:
        """True only where this host can prove that the process is gone."""
        if self.host != socket.gethostname():
            return False
        if self.started and (now := _started(self.pid)) is not None:
            return now != self.started
        return not _exists(self.pid)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _started(pid: int) -> str | None:
    """When process `pid` started, in clock ticks since boot; None where /proc does not tell, "" for a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in {"Z", "X"} else fields[19]
