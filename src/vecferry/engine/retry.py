"""Trying again: only what its class calls retryable, with full jitter, as long as a deadline allows."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from vecferry.engine.stop import Stop, interrupted
from vecferry.errors import Throttled, VecferryError

FIRST_SECONDS = 0.2
CAP_SECONDS = 20.0

T = TypeVar("T")
Told = Callable[[int, float, VecferryError], None]
"""Called before each wait with: attempt (from 1), seconds, error."""


class Patience:
    """What one thing (a batch, a read) may still fail: waits between attempts, and an end to them."""

    def __init__(self, what: str, *, stop: Stop, deadline_seconds: float, told: Told) -> None:
        self._what = what
        self._stop = stop
        self._deadline_seconds = deadline_seconds
        self._told = told
        self.reset()

    def reset(self) -> None:
        """It worked: the next failure is the first again."""
        self._attempt = 0
        self._since = 0.0

    def endure(self, error: VecferryError) -> None:
        """Wait before the next attempt.

        Raises:
            VecferryError: `error` itself, where trying again cannot help.
            Interrupted: a stop was requested, or the deadline would pass; `error` is its cause.
        """
        if not error.retryable:
            raise error
        now = time.monotonic()
        if self._attempt == 0:
            self._since = now
        self._attempt += 1
        wait = pause(self._attempt, error)
        if now - self._since + wait > self._deadline_seconds:
            raise interrupted(
                f"{self._what} did not succeed within {self._deadline_seconds:g} s and {self._attempt} attempts. "
                f"The last error: {error.message}"
            ) from error
        self._told(self._attempt, wait, error)
        if not self._stop.sleep(wait):
            raise interrupted(f"Stopped on request while waiting to try again: {error.message}") from error


def pause(attempt: int, error: VecferryError) -> float:
    """Seconds to wait after `attempt` failures: anywhere below an exponential bound, on top of what the store asked."""
    jitter = random.uniform(0, min(CAP_SECONDS, FIRST_SECONDS * 2.0**attempt))  # noqa: S311 - spreads load, no secret
    asked = error.retry_after if isinstance(error, Throttled) else None
    return jitter if asked is None else asked + min(jitter, FIRST_SECONDS)


def retrying(call: Callable[[], T], patience: Patience) -> T:
    """The result of `call`, tried again as `patience` allows; see `Patience.endure` for what it raises."""
    while True:
        try:
            result = call()
        except VecferryError as error:
            patience.endure(error)
        else:
            patience.reset()
            return result
