"""A store that asks for less while it is opened or listed is asked again later, as it is while its records are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, cast

from vecferry.engine.model import Options
from vecferry.engine.retry import Patience
from vecferry.engine.stop import Stop
from vecferry.errors import Throttled, VecferryError
from vecferry.events import Observer, Retried, silent
from vecferry.protocols import Database

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Makes a call of one store once more where it was `Throttled`; every other error is raised at once.

    Attributes:
        store: what messages call it.
        stop: gives up where one is requested.
        deadline_seconds: gives up after so long, by default as a copy does.
    """

    store: str = ""
    observer: Observer = silent
    stop: Stop = field(default_factory=Stop)
    deadline_seconds: float = Options().deadline_seconds

    def __call__(self, call: Callable[[], T]) -> T:
        """The result of `call`.

        Raises:
            Interrupted: a stop was requested, or the store asked for less for too long.
        """
        patience = Patience(self.store, stop=self.stop, deadline_seconds=self.deadline_seconds, told=self._tell)
        while True:
            try:
                return call()
            except Throttled as error:
                patience.endure(error)

    def _tell(self, attempt: int, wait: float, error: VecferryError) -> None:
        self.observer(Retried(collection=self.store, partition="", attempt=attempt, wait=wait, error=error.message))


def patient(database: Database, again: Again) -> Database:
    """`database` with all its powers, whose methods and properties go through `again`; lists come whole.

    Powers are told by the attributes of a class, so it gets a class of its own with those of `database`.
    """
    names = (name for name in dir(database) if not name.startswith("_"))
    forwarded = {name: property(partial(_asked, database, name, again)) for name in names}
    return cast(Database, type(type(database).__name__, (), forwarded)())


def _asked(database: Database, name: str, again: Again, _: object) -> Any:
    """The attribute `name` of `database`; where it is a method, one that asks again."""
    found = again(partial(getattr, database, name))
    return partial(_called, found, again) if callable(found) else found


def _called(method: Callable[..., Any], again: Again, /, *args: Any, **options: Any) -> Any:
    return again(lambda: _whole(method(*args, **options)))


def _whole(found: Any) -> Any:
    """A list in place of an iterator, which breaks off for good where an error leaves it."""
    return list(found) if isinstance(found, Iterator) else found
