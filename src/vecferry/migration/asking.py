"""A source asked again and again as an application asks it, by a process of its own.

In this process an answer would wait for the threads that read and write, and that wait is not the source's. The child
is a fresh interpreter (`vecferry.verification.elsewhere` says why). It is told on its standard input where to import
from and what to ask; it answers one line for each search: the seconds that it took, or `!` and what was wrong. It
ends when its standard input does, so with the process that started it.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import median
from typing import IO, TYPE_CHECKING, Self

from vecferry.engine.gentle import p95
from vecferry.engine.stop import Stop, interrupted
from vecferry.errors import ConnectorError, Unsupported, VecferryError
from vecferry.protocols import Askable, Database, require
from vecferry.registry import open_database
from vecferry.verification.elsewhere import possible

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PAUSE_S = 0.15
"""Between two searches, at least: a handful a second."""
REST = 2
"""A pause is at least so many times as long as the search before it: one that is slow is asked seldom."""
_QUERIES = 16
WARM_UP = _QUERIES
"""Each is asked once before it counts: what it needs is in the store's cache then."""
IDLE_BLOCKS, IDLE_SAMPLES = 3, 20
"""The idle p95 is the median of those of three blocks of so many searches: what else the machine does for a moment
would make the bound too high for the whole run."""
_TOO_SLOW_S = 1.0
_GLANCE_S = 0.1
_PATIENCE_S = 5.0
_OPENING_S = 600.0
"""Until the first answer: who opens a large table of InnoDB counts its rows before, which takes minutes."""
_AGAIN_S = 1.0
_CODE = f"import sys, pickle; sys.path[:] = pickle.load(sys.stdin.buffer); import {__name__} as m; m.main()"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: the records next to those of this collection, by this vector of theirs, with such pauses."""

    url: str
    collection: str
    vector: str
    pause: float


class Asker:
    """The process that asks, and its answers. Who makes it closes it."""

    def __init__(self, question: Question) -> None:
        if not possible():
            raise Unsupported(
                "This program cannot start another one like itself, which --pace needs to ask the source.",
                hint="Leave --pace out and limit the reading with --rate RECORDS.",
            )
        self._question = question
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for this process alone, which ends the child
            text=False,
        )
        self._answers: queue.SimpleQueue[float | str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="vecferry-asked", daemon=True).start()
        with suppress(OSError):  # it is gone, which `answer` says better
            pickle.dump(sys.path, self._stdin)
            pickle.dump(question, self._stdin)
            self._stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def idle(self, stop: Stop) -> float:
        """The p95 of the source's searches in seconds, before anything is read.

        Raises:
            Unsupported: they take too long to be asked again and again.
            ConnectorError: it cannot be asked. Interrupted: a stop was requested.
        """
        warm_up = [self._need(stop) for _ in range(WARM_UP)]
        if min(warm_up) > _TOO_SLOW_S:
            raise Unsupported(
                f"A search of '{self._question.collection}' takes {min(warm_up):.1f} s: asking again and again would "
                "itself be a load.",
                hint="Give the source a vector index, or leave --pace out and limit the reading with --rate RECORDS.",
            )
        return median(p95([self._need(stop) for _ in range(IDLE_SAMPLES)]) for _ in range(IDLE_BLOCKS))

    def answer(self, wait: float) -> float | str | None:
        """The next answer: its seconds, or what was wrong; None where the process is gone.

        Raises:
            TimeoutError: there was none within `wait` seconds.
        """
        try:
            return self._answers.get(timeout=wait)
        except queue.Empty:
            raise TimeoutError from None

    def close(self) -> None:
        """End the process, whatever it does."""
        with suppress(OSError):
            self._stdin.close()
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _need(self, stop: Stop) -> float:
        """The next answer, which must be one."""
        deadline = time.monotonic() + _OPENING_S
        found: float | str | None = "It does not answer."
        while time.monotonic() < deadline:
            if stop.requested:
                raise interrupted("Stopped on request before the source was read.")
            with suppress(TimeoutError):
                found = self.answer(_GLANCE_S)
                break
        if isinstance(found, float):
            return found
        raise ConnectorError(
            f"'{self._question.collection}' cannot be asked how long its searches take: "
            f"{found or 'the process that asks has ended.'}",
            hint="See to it that the collection can be searched, or leave --pace out.",
        )

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _read(self) -> None:
        assert self._process.stdout is not None
        with closing(self._process.stdout) as lines:
            for line in lines:
                text = line.decode().strip()
                self._answers.put(text[1:] if text.startswith("!") else float(text))
        self._answers.put(None)


# --------------------------------------------------------------------------- in the child


def main() -> None:
    """The child's part."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anybody prints is no answer
    question: Question = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that started this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            for seconds in answers(question):
                _tell(out, repr(seconds))
        except VecferryError as error:
            _tell(out, "!" + error.message.replace("\n", " "))
        time.sleep(_AGAIN_S)


def answers(question: Question) -> Iterator[float]:
    """How long each search takes, without end, with a pause behind each."""
    with closing(open_database(question.url)) as database:
        queries = _queries(database, question)
        with closing(database.source(question.collection)) as source:
            asked = require(source, Askable, operation="be asked", instead="Leave --pace out.")
            for ask in cycle([asked.asking(query, vector=question.vector) for query in queries]):
                began = time.perf_counter()
                ask()
                took = time.perf_counter() - began
                yield took
                time.sleep(max(question.pause, REST * took))


def _queries(database: Database, question: Question) -> list[NDArray[np.float32]]:
    """Vectors that the collection holds, from its beginning.

    Read by a source of their own: one that has read may hold a snapshot for as long as it is open.
    """
    import numpy as np  # this module is imported by every migration

    column = f"vector.{question.vector}" if question.vector else "vector"
    with closing(database.source(question.collection)) as source:
        for partition in source.partitions():
            for chunk in source.read(partition):
                held = chunk.batch.column(column).drop_null()
                found = [np.asarray(one.as_py(), np.float32) for one in islice(held, _QUERIES)]
                if found := [one for one in found if one.any()]:
                    return found
    raise Unsupported(
        f"'{question.collection}' holds no vector to search for.", hint="Leave --pace out and use --rate RECORDS."
    )


def _tell(out: IO[bytes], text: str) -> None:
    out.write(f"{text}\n".encode())
    out.flush()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)
