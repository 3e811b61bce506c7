"""What every server of `vecferry.testing` promises, for the tests of each."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from vecferry.testing.ports import HOST


def check_gone(pid: int | None, folder: Path, port: int) -> None:
    """Nothing is left of a server that ran: no process, no folder, and its port is free again."""
    assert pid is not None
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind((HOST, port))
