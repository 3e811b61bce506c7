"""Loopback ports: which are free, who answers, and whether it is the one that should."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

HOST = "127.0.0.1"
_LISTEN = "0A"


def free_ports(count: int) -> list[int]:
    """`count` different loopback ports that nobody listens on right now."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]


def connects(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def stranger_listens(port: int, pid: int | None) -> bool:
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
