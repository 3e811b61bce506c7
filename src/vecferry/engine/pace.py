"""How hard to push: batch size and batches in flight, adapted to what the target answers, and a limit on the rate."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

from vecferry.engine.model import Options
from vecferry.engine.stop import Stop, interrupted
from vecferry.events import Observer, Paced
from vecferry.limits import Limits

FLOOR_BYTES = 64 << 10
"""Batches are not made smaller than this, except where the target refuses them for their size."""
_GROWTHS = 8
"""Steps from the floor back to the full batch."""
_HEADROOM = 0.8
"""Share of the target's own request limit that a batch may take: encoding adds to it."""
_LOOK_SECONDS = 0.1
"""A wait for the rate looks at it again after so long: it may have been changed."""
_CALM_SECONDS = 1.0
"""Refusals within this time of a cut are answers to what was sent before it."""


class Pace:
    """Additive increase, multiplicative decrease. Thread-safe; every writer of one target in this process shares it.

    A refusal (`Throttled`) halves the batches in flight, then the batch. A slow answer halves the batch, then the
    batches in flight. A round of quick answers takes back one step.
    """

    def __init__(self, options: Options, limits: Limits, observer: Observer, rate: Rate | None = None) -> None:
        """`rate`, where somebody else adapts it; else that of the options."""
        self._options = options
        self._observer = observer
        self._largest = min(options.batch_bytes, int((limits.request_bytes or 1 << 62) * _HEADROOM))
        self._rows = min(options.batch_rows, limits.request_records or options.batch_rows)
        self._rate = rate or (Rate(options.rate) if options.rate else None)
        self._bytes = self._largest
        self._allowed = options.jobs
        self._sending = 0
        self._quick = 0
        self._calm_at = 0.0
        self._turn = threading.Condition()

    @property
    def max_bytes(self) -> int:
        """Arrow bytes of the next batch, at most."""
        return self._bytes

    @property
    def max_rows(self) -> int:
        """Records of the next batch, at most."""
        return min(self._rows, self._rate.burst) if self._rate else self._rows

    def admit(self, rows: int, stop: Stop) -> bool:
        """Wait until the rate allows `rows` more records; False where a stop was requested meanwhile."""
        return self._rate is None or self._rate.take(rows, stop)

    @contextmanager
    def sending(self, stop: Stop) -> Iterator[None]:
        """One batch on its way, as soon as one more is allowed.

        Raises:
            Interrupted: a stop was requested before its turn came.
        """
        with self._turn:
            while self._sending >= self._allowed:
                if stop.requested:
                    raise interrupted("Stopped on request before a batch was sent.")
                self._turn.wait(0.1)
            self._sending += 1
        try:
            yield
        finally:
            with self._turn:
                self._sending -= 1
                self._turn.notify()

    def landed(self, seconds: float) -> None:
        """A batch was written in so many seconds."""
        with self._turn:
            if seconds > self._options.target_seconds:
                self._slow()
            elif seconds < self._options.target_seconds / 2:
                self._quick += 1
                if self._quick >= self._allowed:
                    self._grow()

    def throttled(self) -> None:
        """The target asked us to slow down."""
        with self._turn:
            if not self._may_cut():
                return
            if self._allowed > 1:
                self._set(self._allowed // 2, self._bytes, "the target asks to slow down")
            else:
                self._set(1, self._smaller(), "the target asks to slow down")

    def too_large(self, nbytes: int) -> None:
        """The target refused a batch of so many bytes for its size: no batch of that size is sent again."""
        with self._turn:
            self._largest = max(1, min(self._largest, nbytes // 2))
            self._set(self._allowed, min(self._bytes, self._largest), "the target refuses batches of this size")

    def _slow(self) -> None:
        if not self._may_cut():
            return
        if self._smaller() < self._bytes:
            self._set(self._allowed, self._smaller(), "the target answers slowly")
        else:
            self._set(max(1, self._allowed - 1), self._bytes, "the target answers slowly")

    def _may_cut(self) -> bool:
        self._quick = 0
        now = time.monotonic()
        if now < self._calm_at:
            return False
        self._calm_at = now + _CALM_SECONDS
        return True

    def _smaller(self) -> int:
        return min(self._bytes, max(FLOOR_BYTES, self._bytes // 2))

    def _grow(self) -> None:
        self._quick = 0
        larger = min(self._largest, self._bytes + max(1, self._largest // _GROWTHS))
        self._set(min(self._options.jobs, self._allowed + 1), larger, "the target answers quickly")

    def _set(self, allowed: int, size: int, reason: str) -> None:
        if (allowed, size) == (self._allowed, self._bytes):
            return
        self._allowed, self._bytes = allowed, size
        self._turn.notify_all()
        self._observer(Paced(in_flight=allowed, batch_bytes=size, reason=reason))


class Rate:
    """A token bucket of records. A batch may be sent while the bucket is not in debt; its records are then owed.

    Thread-safe. `per_second` may be changed at any time: what is owed is paid at the rate of now.
    """

    def __init__(self, per_second: float, *, burst_seconds: float = 0.5) -> None:
        """`burst_seconds`: a batch holds what may be sent in so long, at most."""
        self.per_second = per_second
        self._burst_seconds = burst_seconds
        self._lock = threading.Lock()
        self._owed = 0.0
        self._settled_at = time.monotonic()

    @property
    def burst(self) -> int:
        """Records of one batch, at most."""
        return max(1, ceil(self.per_second * self._burst_seconds))

    def take(self, rows: int, stop: Stop) -> bool:
        """Wait for the turn of `rows` records; False where a stop was requested meanwhile."""
        while not stop.requested:
            with self._lock:
                owed = self._settled()
                if owed <= 0:
                    self._owed += rows
                    return True
            stop.sleep(min(owed / self.per_second, _LOOK_SECONDS))
        return False

    def _settled(self) -> float:
        """Records that are owed now."""
        now = time.monotonic()
        self._owed = max(0.0, self._owed - (now - self._settled_at) * self.per_second)
        self._settled_at = now
        return self._owed
