"""Asking a run to stop: once for "finish what is in flight", twice for "now"."""

from __future__ import annotations

import time

from vecferry.errors import Interrupted

_GLANCE = 0.1
"""Seconds between two looks at a stop while waiting. No lock or event: a signal handler may not wait for one."""


class Stop:
    """A stop that any thread, or a signal handler, may request. Both ways leave the run resumable."""

    def __init__(self, parent: Stop | None = None) -> None:
        self._level = 0
        self._parent = parent

    def request(self) -> None:
        """First call: finish the batches in flight, checkpoint, stop. Second call: stop at once."""
        self._level += 1

    def child(self) -> Stop:
        """A stop that stops with this one, and can be stopped alone."""
        return Stop(self)

    @property
    def level(self) -> int:
        """0: go on; 1: begin nothing new; 2 and more: abandon what is in flight."""
        return max(self._level, self._parent.level if self._parent else 0)

    @property
    def requested(self) -> bool:
        """Nothing new shall be begun."""
        return self.level > 0

    @property
    def now(self) -> bool:
        """What is in flight shall be abandoned."""
        return self.level > 1

    def sleep(self, seconds: float) -> bool:
        """Wait; False where the wait was cut short because a stop was requested."""
        deadline = time.monotonic() + seconds
        while not self.requested and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, _GLANCE))
        return not self.requested


def interrupted(reason: str) -> Interrupted:
    """The error of a run that stops and can go on."""
    return Interrupted(reason, hint="Run the same command again to go on from the last checkpoint.")
