"""Pauses: somebody asks, through the ledger, that a run or a unit of it begins nothing new for now.

What is in flight lands and is checkpointed, the source is let go of, and the process waits; nothing is held meanwhile
that a store would miss. A pause outlives the process: the next one waits as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from vecferry.engine.stop import Stop, interrupted
from vecferry.errors import LedgerError, StoreFull
from vecferry.events import Notice, Observer

if TYPE_CHECKING:
    from vecferry.state.run import Run

EVERY_S = 1.0
"""Seconds between two looks into the ledger."""


class Pause:
    """Whether a pause is asked for, looked up once in `EVERY_S` at most. Any thread may ask."""

    def __init__(self, asked: Callable[[], bool]) -> None:
        self._asked = asked
        self._next = 0.0

    def __call__(self) -> bool:
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + EVERY_S
        with suppress(LedgerError, StoreFull):  # a ledger that fails for a moment; whoever writes into it next says so
            return self._asked()
        return False


def wait_while_paused(run: Run, *, stop: Stop, observer: Observer, let_go: Callable[[], None] | None = None) -> None:
    """Return once the run is not paused. Before the wait, `let_go` closes what is not to be held meanwhile.

    Raises:
        Interrupted: a stop was requested meanwhile; the run stays paused.
    """
    if not run.paused():
        return
    if let_go is not None:
        let_go()
    observer(Notice(message=f"Paused. `vecferry resume --run {run.id}` lets it go on."))
    while run.paused():
        if not stop.sleep(EVERY_S):
            raise interrupted("Stopped on request while it was paused.")
    observer(Notice(message="It goes on."))
