"""Holding a run while work is done on it: its heartbeat, and what the ledger learns when the work fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from vecferry.engine.stop import Stop
from vecferry.errors import Interrupted, LedgerError, RunLocked, StoreFull, VecferryError
from vecferry.events import Observer, RunFinished, silent
from vecferry.state.model import Outcome

if TYPE_CHECKING:
    from vecferry.state.run import Run

_BEATS = 4
"""Heartbeats within one lease."""


@contextmanager
def keeping(run: Run, *, stop: Stop, observer: Observer = silent) -> Iterator[Run]:
    """Keep `run` ours for the whole block: copying, verifying, whatever it takes.

    The block ends the run itself (`run.close`) when its work is done. Where it leaves with an error, the run is let go
    of as interrupted or failed, so that the same command goes on at once. Where another process takes the run over,
    `stop` is requested and `RunLocked` is raised.
    """
    heart = _Heart(run, stop)
    try:
        yield run
    except BaseException as error:
        if heart.lost is not None:
            raise heart.lost from error
        _let_go(run, error, observer)
        raise
    finally:
        heart.stop()


def _let_go(run: Run, error: BaseException, observer: Observer) -> None:
    stopped = isinstance(error, Interrupted | KeyboardInterrupt)
    outcome = Outcome.INTERRUPTED if stopped else Outcome.FAILED
    message = error.message if isinstance(error, VecferryError) else type(error).__name__
    observer(RunFinished(run=run.id, outcome=outcome.value))
    with suppress(LedgerError, StoreFull):  # the lease runs out by itself
        run.close(outcome, error=message)


class _Heart:
    """A thread that renews the lease until it is stopped, or the run is lost."""

    def __init__(self, run: Run, stop: Stop) -> None:
        self.lost: RunLocked | None = None
        self._run = run
        self._stop = stop
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(self._run.lease_seconds)

    def _beat(self) -> None:
        while not self._ended.wait(self._run.lease_seconds / _BEATS):
            try:
                self._run.heartbeat()
            except RunLocked as error:
                if not self._ended.is_set():
                    self.lost = error
                    self._stop.request()
                return
            except (LedgerError, StoreFull):
                continue  # a ledger that fails for a moment; whoever writes into it next says so
