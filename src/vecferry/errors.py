"""One error tree: a class for every decision a caller can take.

    VecferryError(message, *, hint, **facts)
    ├── ConfigError                  the request itself is wrong: URL, option, missing extra
    ├── ConnectorError(store)        a store said no
    │   ├── Unavailable*             cannot be reached, or broke off         * retryable
    │   ├── Throttled*(retry_after)  asked us to slow down
    │   ├── AuthFailed               key missing, wrong, or not allowed to
    │   ├── NotFound                 no such collection, file or record
    │   ├── AlreadyExists            would overwrite what is not ours
    │   ├── Conflict                 exists, but differs: dimension, metric, vector names
    │   ├── Unsupported              the store has no such power; says what would have it
    │   └── StoreFull                disk full or read-only, ours or theirs
    ├── DataError(ids)               records that cannot be moved as they are
    │   ├── CorruptData              a file or message is torn, tampered with or hostile
    │   ├── IdCollision              two source ids fall on one target id
    │   └── LossRefused              a lossy cell of the plan has no accepted policy
    ├── LedgerError                  the memory of runs
    │   ├── RunLocked                another process holds this run
    │   ├── PlanChanged              the plan of an unfinished run differs from the one asked for
    │   └── LedgerTooNew             written by a later vecferry
    ├── UnitsFailed                  some units of a collection failed, the others are through; resumable
    └── Interrupted                  stopped on request; resumable
        └── UnitsPaused              some units of a collection are paused, the others are through

Facts are flat scalars and may be logged; secrets, vectors and documents never become facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

Fact = str | int | float | bool | None


class VecferryError(Exception):
    """Base of everything vecferry raises on purpose.

    `message` says what happened to which thing, `hint` what to do about it. Instances are picklable.
    """

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str | None = None, **facts: Fact) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.facts = facts

    def __str__(self) -> str:
        return f"{self.message}\n  -> {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.__dict__))


def _rebuild(kind: type[VecferryError], state: dict[str, object]) -> VecferryError:
    error = kind.__new__(kind)
    error.__dict__.update(state)
    error.args = (state["message"],)
    return error


class ConfigError(VecferryError):
    """The request itself is wrong: an unknown URL scheme, a bad option, a missing extra."""


class ConnectorError(VecferryError):
    """A store refused or failed. `store` is its URL without secrets."""

    def __init__(self, message: str, *, store: str = "", hint: str | None = None, **facts: Fact) -> None:
        super().__init__(message, hint=hint, **facts)
        self.store = store


class Unavailable(ConnectorError):
    """The store cannot be reached, timed out or broke the connection. Trying again may help."""

    retryable = True


class Throttled(ConnectorError):
    """The store asked us to slow down. `retry_after` is in seconds, None where it did not say."""

    retryable = True

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        store: str = "",
        hint: str | None = None,
        **facts: Fact,
    ) -> None:
        super().__init__(message, store=store, hint=hint, **facts)
        self.retry_after = retry_after


class AuthFailed(ConnectorError):
    """The key is missing, wrong, or lacks the right."""


class NotFound(ConnectorError):
    """No such store, collection, file or record."""


class AlreadyExists(ConnectorError):
    """The name is taken by something that we did not write and were not told to touch."""


class Conflict(ConnectorError):
    """The collection exists but does not fit: another dimension, metric or vector name."""


class Unsupported(ConnectorError):
    """The store has no such power. The message names what would support it."""


class StoreFull(ConnectorError):
    """No space left, or read-only: what was already written stays correct and resumable."""


class DataError(VecferryError):
    """Records that cannot be moved as they are. `ids` are the first few of them."""

    def __init__(self, message: str, *, ids: Sequence[str] = (), hint: str | None = None, **facts: Fact) -> None:
        super().__init__(message, hint=hint, **facts)
        self.ids = tuple(ids)


class CorruptData(DataError):
    """A file or message is torn, truncated, tampered with or hostile."""


class IdCollision(DataError):
    """Two source ids fall on one target id."""


class LossRefused(DataError):
    """The plan holds a lossy or impossible cell without an accepted policy."""


class LedgerError(VecferryError):
    """The ledger cannot be read or written."""


class RunLocked(LedgerError):
    """Another live process holds this run."""


class PlanChanged(LedgerError):
    """An unfinished run exists whose plan differs from the one asked for."""


class LedgerTooNew(LedgerError):
    """The ledger was written by a later version of vecferry."""


class UnitsFailed(VecferryError):
    """Some units of a collection could not be moved; the others are moved and proven. The same command tries again."""


class Interrupted(VecferryError):
    """The run stopped on request; every checkpoint is committed and the same command resumes it."""


class UnitsPaused(Interrupted):
    """Some units are paused; the others are moved and proven. Resumed, the same command moves them."""
