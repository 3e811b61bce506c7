"""Processes that begin with vecferry imported: forked from one that has done so already, once per test run.

Importing takes a command three times as long as a small migration, and hundreds of tests run commands. Each of these is
a process of its own all the same: a session, working directory and environment of its own, pipes, signals, an exit code
that a parent waited for. What is not as in a shell is its command line in /proc.

Run as a script this is the parent, which forks; imported it is the test's end.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import re
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

MEASURED = "COVERAGE_PROCESS_CONFIG"
"""In the environment while coverage is measured: a fork would not be."""
BUFFER = 1 << 18
_LEFT_OUT = re.compile(r"\.__main__$|^vecferry\.(testing|demo)\b")
"""What runs as `__main__`, is for tests alone, or starts threads: a fork has none of its parent's."""


class Process:
    """The part of `subprocess.Popen[str]` that tests use; `args`: a module or a script's path, and its arguments."""

    returncode: int | None

    def __init__(self, args: Sequence[str], *, cwd: Path, env: dict[str, str], stdin: int = subprocess.DEVNULL) -> None:
        nothing = os.open(os.devnull, os.O_RDONLY)
        pipes = [os.pipe() for _ in range(3)]
        theirs = [nothing if stdin == subprocess.DEVNULL else stdin, *(write for _, write in pipes)]
        out, err, self._status = (read for read, _ in pipes)
        self.args, self.returncode = list(args), None
        self.pid = _parent().fork({"args": self.args, "cwd": str(cwd), "env": env}, theirs)
        for one in {nothing, *theirs[1:]}:
            os.close(one)
        self.stdout, self.stderr = os.fdopen(out, encoding="utf-8"), os.fdopen(err, encoding="utf-8")
        self._said: dict[int, str] = {}
        self._readers: list[threading.Thread] = []

    def poll(self) -> int | None:
        """The exit code, or minus the signal that ended it; None while it runs."""
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            status = os.read(self._status, 64)
            assert status, "the parent of the warm processes is gone"
            os.close(self._status)
            self.returncode = os.waitstatus_to_exitcode(int(status))
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended; raises `subprocess.TimeoutExpired` as Popen does."""
        if self.returncode is None and not select.select([self._status], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        code = self.poll()
        assert code is not None
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """All that it still says on standard output and standard error."""
        if not self._readers:
            self._readers = [threading.Thread(target=self._read, args=(n,), daemon=True) for n in range(2)]
            for one in self._readers:
                one.start()
        end = None if timeout is None else time.monotonic() + timeout
        for one in self._readers:
            one.join(None if end is None else max(0.0, end - time.monotonic()))
            if one.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(None if end is None else max(0.0, end - time.monotonic()))
        return self._said[0], self._said[1]

    def _read(self, number: int) -> None:
        with (self.stdout, self.stderr)[number] as stream:
            self._said[number] = stream.read()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Parent:
    """The process that forks; it ends when its line to us closes."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, __file__, str(theirs.fileno())]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            command, stdin=quiet, stdout=quiet, pass_fds=[theirs.fileno()], start_new_session=True
        )
        theirs.close()
        self._one_at_a_time = threading.Lock()

    def fork(self, request: dict[str, Any], files: list[int]) -> int:
        """Start what is asked for with `files` as 0, 1, 2 and the pipe for its status; its process id."""
        with self._one_at_a_time:
            socket.send_fds(self._line, [json.dumps(request).encode()], files)
            answer = self._line.recv(64)
        assert answer, "the parent of the warm processes is gone"
        return int(answer)

    def close(self) -> None:
        self._line.close()
        self._process.wait(30)


@cache
def _parent() -> _Parent:
    parent = _Parent()
    atexit.register(parent.close)
    return parent


# --------------------------------------------------------------------------- the other end


def _serve(line: socket.socket) -> dict[str, Any] | None:
    """Fork for each request: None at the end of all; in each child, its request."""
    told, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    children: dict[int, int] = {}
    while True:
        if told in select.select([line.fileno(), told], [], [])[0]:
            os.read(told, 4096)
            _collect(children)
            continue
        message, files, _, _ = socket.recv_fds(line, BUFFER, 4)
        if not message:
            return None
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            request: dict[str, Any] = json.loads(message)
            _settle(request, files, [told, wake, line.detach(), *children.values()])
            return request
        children[pid] = files[3]
        for one in files[:3]:
            os.close(one)
        line.send(str(pid).encode())


def _collect(children: dict[int, int]) -> None:
    """Say of each child that has ended how."""
    for pid in list(children):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            with contextlib.suppress(BrokenPipeError):  # nobody asks any more
                os.write(children[pid], str(status).encode())
            os.close(children.pop(pid))


def _settle(request: dict[str, Any], files: list[int], others: list[int]) -> None:
    os.setsid()
    for number in range(3):
        os.dup2(files[number], number)
    for one in {*files, *others}:
        os.close(one)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.path[:1] = [path for path in request["env"].get("PYTHONPATH", "").split(os.pathsep) if path not in sys.path]


def _become(args: list[str]) -> None:
    sys.argv = args
    if Path(args[0]).is_absolute():
        runpy.run_path(args[0], run_name="__main__")
    else:
        runpy.run_module(args[0], run_name="__main__", alter_sys=True)


def _import_all() -> None:
    import vecferry

    for module in pkgutil.walk_packages(vecferry.__path__, "vecferry."):
        if not _LEFT_OUT.search(module.name):
            with contextlib.suppress(ImportError):  # of a store whose client is not installed
                importlib.import_module(module.name)


def main() -> None:
    request = None
    with socket.socket(fileno=int(sys.argv[1])) as line:
        _import_all()
        gc.freeze()
        request = _serve(line)
    if request is not None:
        _become(request["args"])


if __name__ == "__main__":
    main()
