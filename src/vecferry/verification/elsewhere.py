"""One side scanned by a process of its own, so that both sides of a verification use a processor each.

The child is a fresh interpreter, never a fork (gRPC has threads). Both ends speak pickled values over its standard
streams: to it go the paths to import from, what to open (at once, so that it imports while this process does something
else), and then one job after the other; from it come events, questions for the next partition to read, and for each
job the filled `Side` or the error. Standard input stays open as a lifeline: where it ends, by `close` or because this
process died, the child ends at once.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import IO, Self

from vecferry.engine.stop import Stop
from vecferry.errors import ConnectorError, Interrupted
from vecferry.events import Event, Observer
from vecferry.model import Partition
from vecferry.process import let_go, prepare
from vecferry.protocols import Database, Portable
from vecferry.registry import open_database
from vecferry.url import StoreUrl
from vecferry.verification.scan import Side, scan
from vecferry.verification.tries import Tries

LEAST_RECORDS = 100_000
"""Fewer are not worth a process: it imports for 0.5 s (1 s where no bytecode is cached) of processor time."""
LEAST_AHEAD = 20_000
"""The same, where it may start while this process only waits."""
_GLANCE_S = 0.1
_PATIENCE_S = 5.0
_CODE = f"import sys, pickle; sys.path[:] = pickle.load(sys.stdin.buffer); import {__name__} as m; m.main()"


@dataclass(frozen=True, slots=True)
class Job:
    """One collection to scan, partition by partition. `label` is its name in events; `side` is filled, over there."""

    name: str
    label: str
    side: Side
    seed: int
    deadline_seconds: float


@dataclass(frozen=True, slots=True)
class _Failure:
    error: BaseException


@dataclass(frozen=True, slots=True)
class _Next:
    """What shall be read next?"""


_Answer = Event | Side | _Failure | _Next | None
"""None: the child is gone."""


def possible() -> bool:
    """Can this interpreter start another one like itself?"""
    return bool(sys.executable) and not getattr(sys, "frozen", False)


class Helper:
    """At most one process for one database, started where it pays and kept for every collection after that."""

    def __init__(self, database: Database) -> None:
        self._address = database.address() if isinstance(database, Portable) and possible() else None
        self._process: Elsewhere | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.close()

    def start(self, records: int, *, least: int | None = None) -> Elsewhere | None:
        """The process, where there is one already or `records` are worth one."""
        least = LEAST_RECORDS if least is None else least
        if self._process is None and self._address is not None and records >= least:
            self._process = Elsewhere(self._address)
        return self._process


class Elsewhere:
    """A process that has the store at `address` open, and scans collections of it when told to."""

    def __init__(self, address: StoreUrl) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as this object
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,  # Ctrl-C is for this process alone, which ends the child
        )
        self._answers: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="verify-elsewhere", daemon=True)
        self._reader.start()
        self._tell(sys.path)
        self._tell(address)

    def scan(self, job: Job, take: Callable[[], Partition | None], *, stop: Stop, observer: Observer) -> Side:
        """Fill the side of `job` with the partitions that `take` gives, up to the first None, and give it back.

        Raises:
            Interrupted: a stop was requested.
            ConnectorError: the process ended before it was done.
            VecferryError: what went wrong over there.
        """
        self._tell(job)
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
            if isinstance(answer, _Next):
                self._tell(take())
                continue
            if isinstance(answer, _Failure):
                raise answer.error
            if answer is None:
                raise self._gone(job.label)
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
        self._log.close()
        if self._process.stdout is not None:
            self._process.stdout.close()

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _tell(self, value: object) -> None:
        with contextlib.suppress(OSError, ValueError):  # it is gone or closed, which `scan` says better
            pickle.dump(value, self._stdin)
            self._stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            while True:
                self._answers.put(pickle.load(self._process.stdout))  # noqa: S301 - from our own child
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            self._answers.put(None)

    def _gone(self, label: str) -> ConnectorError:
        code = self._process.wait()
        self._log.seek(0)
        last = self._log.read().decode("utf-8", "replace").strip().splitlines()[-1:]
        why = f"with status {code}" if code >= 0 else f"by signal {-code}"
        return ConnectorError(
            f"The process that read the target of '{label}' was ended {why}. {''.join(last)}".rstrip(),
            hint="Nothing was changed. Verify again; if it was ended for lack of memory, make room first.",
        )


# --------------------------------------------------------------------------- in the child


class _Parent:
    """The way back to the process that started this one."""

    def __init__(self) -> None:
        self.jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._partitions: queue.SimpleQueue[Partition | None] = queue.SimpleQueue()
        self._out = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)  # what anybody prints is no answer
        self._lock = threading.Lock()

    def tell(self, value: _Answer) -> None:
        message = pickle.dumps(value)
        with self._lock:
            self._out.write(message)
            self._out.flush()

    def next_partition(self) -> Partition | None:
        """What is to be read next; None where nothing is left."""
        self.tell(_Next())
        return self._partitions.get()

    def follow(self, orders: IO[bytes]) -> None:
        """Take orders as they come, and end with the process that gives them: nothing here is worth keeping."""
        with contextlib.suppress(EOFError, OSError, pickle.UnpicklingError):
            while True:
                order = pickle.load(orders)  # noqa: S301 - from the process that started this one
                if isinstance(order, Job):
                    self.jobs.put(order)
                else:
                    self._partitions.put(order)
        os._exit(1)


def main() -> None:
    """The child's part."""
    prepare()
    parent = _Parent()
    address: StoreUrl = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that started this one
    threading.Thread(target=parent.follow, args=(sys.stdin.buffer,), daemon=True).start()
    database: Database | None = None
    with contextlib.suppress(Exception):  # ahead of the first job, which says what is wrong
        database = open_database(address)
    while True:
        job = parent.jobs.get()
        try:
            tries = Tries(job.label, stop=Stop(), deadline_seconds=job.deadline_seconds, observer=parent.tell)
            database = database or tries.call("opening", partial(open_database, address))
            parent.tell(_scan(database, job, parent, tries))
        except Exception as error:  # noqa: BLE001 - raised again over there
            parent.tell(_Failure(_portable(error)))
        let_go()  # this process now waits, while the other needs room for what comes next


def _scan(database: Database, job: Job, parent: _Parent, tries: Tries) -> Side:
    with contextlib.closing(tries.call("opening", lambda: database.source(job.name))) as source:
        spec = source.describe()
        scan(
            source,
            job.side,
            seed=job.seed,
            view=lambda batch: (batch, spec),
            tries=tries,
            seen=lambda _: None,
            partitions=iter(parent.next_partition, None),
        )
    return job.side


def _portable(error: Exception) -> Exception:
    """`error`, or what can be said of one that cannot be sent."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301
    except Exception:  # noqa: BLE001 - whatever its class does when it is sent
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
