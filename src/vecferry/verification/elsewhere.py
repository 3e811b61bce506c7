"""One side scanned by a process of its own, so that both sides of a verification use a processor each.

The child is a fresh interpreter, never a fork (gRPC has threads). Both ends speak pickled values over its standard
streams: to it go the paths to import from, what to open (at once, so that it imports while this process looks at
schemas), and the job; from it come events, and at the end the filled `Side` or the error. Standard input stays open
as a lifeline: where it ends, by `close` or because this process died, the child ends at once.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from vecferry.engine.stop import Stop
from vecferry.errors import ConnectorError, Interrupted
from vecferry.events import Event, Observer
from vecferry.heap import keep_freed_memory
from vecferry.registry import open_database
from vecferry.url import StoreUrl
from vecferry.verification.scan import Side, scan
from vecferry.verification.tries import Tries

LEAST_RECORDS = 100_000
"""Fewer are not worth a process: it starts and imports for 1 s (2 s where no bytecode is cached) of processor time."""
_GLANCE_S = 0.1
_PATIENCE_S = 5.0
_CODE = f"import sys, pickle; sys.path[:] = pickle.load(sys.stdin.buffer); import {__name__} as m; m.main()"


@dataclass(frozen=True, slots=True)
class _Opening:
    address: StoreUrl
    name: str
    label: str
    deadline_seconds: float


@dataclass(frozen=True, slots=True)
class _Job:
    side: Side
    key: bytes


@dataclass(frozen=True, slots=True)
class _Failure:
    error: BaseException


_Answer = Event | Side | _Failure | None
"""None: the child is gone."""


def possible() -> bool:
    """Can this interpreter start another one like itself?"""
    return bool(sys.executable) and not getattr(sys, "frozen", False)


class Elsewhere:
    """A process that has the collection `name` of the store at `address` open, and scans it when told to.

    Args:
        label: the collection's name in events; folder: where the child's own messages are kept.
    """

    def __init__(self, address: StoreUrl, name: str, *, label: str, deadline_seconds: float, folder: Path) -> None:
        self._label, self._log = label, folder / "elsewhere.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _CODE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for this process alone, which ends the child
            )
        self._answers: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="verify-elsewhere", daemon=True)
        self._reader.start()
        self._tell(sys.path)
        self._tell(_Opening(address, name, label, deadline_seconds))

    def scan(self, side: Side, *, key: bytes, stop: Stop, observer: Observer) -> Side:
        """Fill `side` and give it back.

        Raises:
            Interrupted: a stop was requested.
            ConnectorError: the process ended before it was done.
            VecferryError: what went wrong over there.
        """
        self._tell(_Job(side, key))
        while True:
            if stop.requested:
                self.close()
                raise Interrupted("Verification was stopped.", hint="Run it again; it reads from the start.")
            try:
                answer = self._answers.get(timeout=_GLANCE_S)
            except queue.Empty:
                continue
            if isinstance(answer, Side):
                return answer
            if isinstance(answer, _Failure):
                raise answer.error
            if answer is None:
                raise self._gone()
            observer(answer)

    def close(self) -> None:
        """End the process, whatever it does."""
        with contextlib.suppress(OSError):
            self._stdin.close()
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _tell(self, value: object) -> None:
        with contextlib.suppress(BrokenPipeError):  # it is gone, which `scan` says better
            pickle.dump(value, self._stdin)
            self._stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            while True:
                self._answers.put(pickle.load(self._process.stdout))  # noqa: S301 - from our own child
        except (EOFError, OSError, pickle.UnpicklingError):
            self._answers.put(None)

    def _gone(self) -> ConnectorError:
        code = self._process.wait()
        last = self._log.read_text("utf-8", "replace").strip().splitlines()[-1:]
        why = f"with status {code}" if code >= 0 else f"by signal {-code}"
        return ConnectorError(
            f"The process that read the target of '{self._label}' was ended {why}. {''.join(last)}".rstrip(),
            hint="Nothing was changed. Verify again; if it was ended for lack of memory, make room first.",
        )


# --------------------------------------------------------------------------- in the child


class _Parent:
    """The way back to the process that started this one."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)  # what anybody prints is no answer
        self._lock = threading.Lock()

    def tell(self, value: _Answer) -> None:
        message = pickle.dumps(value)
        with self._lock:
            self._out.write(message)
            self._out.flush()


def main() -> None:
    """The child's part."""
    keep_freed_memory()
    parent, orders = _Parent(), sys.stdin.buffer
    try:
        parent.tell(_work(parent, orders))
    except Exception as error:  # noqa: BLE001 - raised again over there
        parent.tell(_Failure(_portable(error)))
    os._exit(0)  # a thread still listens for the end; there is nothing to tidy up


def _work(parent: _Parent, orders: Any) -> Side:
    opening: _Opening = pickle.load(orders)  # noqa: S301 - from the process that started this one
    with (
        contextlib.closing(open_database(opening.address)) as database,
        contextlib.closing(database.source(opening.name)) as source,
    ):
        spec = source.describe()
        try:
            job: _Job = pickle.load(orders)  # noqa: S301
        except EOFError:
            os._exit(1)
        threading.Thread(target=_follow, args=(orders,), daemon=True).start()
        stop, seconds = Stop(), opening.deadline_seconds
        tries = Tries(opening.label, stop=stop, deadline_seconds=seconds, observer=parent.tell)
        scan(source, job.side, key=job.key, view=lambda batch: (batch, spec), tries=tries, seen=lambda _: None)
    return job.side


def _follow(orders: Any) -> None:
    """End with the process that started this one: nothing here is worth keeping."""
    orders.read()
    os._exit(1)


def _portable(error: Exception) -> Exception:
    """`error`, or what can be said of one that cannot be sent."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301
    except Exception:  # noqa: BLE001 - whatever its class does when it is sent
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
