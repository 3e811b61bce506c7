"""What every read outside the copy goes through: tried again where that may help, given up where it was stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from vecferry.engine.retry import Patience, retrying
from vecferry.engine.stop import Stop
from vecferry.errors import Interrupted, VecferryError
from vecferry.events import Observer, Retried
from vecferry.model import Chunk, Partition, Position
from vecferry.protocols import Source

T = TypeVar("T")


class Tries:
    """Calls and reads of one collection under one stop; retries are the engine's own. `work` names what is stopped."""

    def __init__(
        self, collection: str, *, stop: Stop, deadline_seconds: float, observer: Observer, work: str = "Verification"
    ) -> None:
        self._collection, self._stop, self._work = collection, stop, work
        self._deadline_seconds, self._observer = deadline_seconds, observer

    def call(self, what: str, call: Callable[[], T]) -> T:
        """The result of `call`, a read that may be made again.

        Raises:
            Interrupted: a stop was requested, or it failed for too long.
        """
        self.go_on()
        return retrying(call, self._patience(what))

    def chunks(self, source: Source, partitions: Iterable[Partition] | None = None) -> Iterator[Chunk]:
        """Every chunk of these partitions, or of all; a read that broke off goes on behind the last chunk it gave.

        Raises:
            Interrupted: a stop was requested, or a read failed for too long.
        """
        if partitions is None:
            partitions = self.call("listing", lambda: list(source.partitions()))
        for partition in partitions:
            after: Position | None = None
            patience = self._patience(f"reading {partition.id}")
            while True:
                try:
                    for chunk in source.read(partition, after=after):
                        self.go_on()
                        after = chunk.position
                        patience.reset()
                        yield chunk
                except VecferryError as error:
                    patience.endure(error)
                else:
                    break

    def under(self, stop: Stop) -> Tries:
        """The same, with another stop."""
        return Tries(
            self._collection,
            stop=stop,
            deadline_seconds=self._deadline_seconds,
            observer=self._observer,
            work=self._work,
        )

    def go_on(self) -> None:
        """Raise `Interrupted` where a stop was requested: such a read keeps nothing, so it starts anew."""
        if self._stop.requested:
            raise Interrupted(f"{self._work} was stopped.", hint="Run it again; it reads from the start.")

    def _patience(self, what: str) -> Patience:
        def told(attempt: int, wait: float, error: VecferryError) -> None:
            self._observer(
                Retried(collection=self._collection, partition=what, attempt=attempt, wait=wait, error=error.message)
            )

        return Patience(
            f"{self._collection}: {what}", stop=self._stop, deadline_seconds=self._deadline_seconds, told=told
        )
