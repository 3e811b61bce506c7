"""Every contract, small on purpose. Limits are data (`vecferry.limits`); powers are protocols of one method.

No default bodies, no optional method that raises: a power that a store lacks is simply not there, and
`require(thing, Power)` turns its absence into `Unsupported`, naming the store and what would support it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from vecferry.errors import Unsupported
from vecferry.limits import Limits
from vecferry.model import Belongings, Chunk, CollectionSpec, Hit, Partition, Pin, Position, Receipt, StoreIdentity
from vecferry.url import StoreUrl

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from vecferry.filters import Filter
    from vecferry.tables import Form, Table


class Connector(Protocol):
    """Our code for one kind of store; `vecferry.registry` finds it by URL scheme."""

    def open(self, url: StoreUrl) -> Database:
        """Open the store behind `url` and prove that it answers.

        Raises:
            ConfigError, Unavailable, AuthFailed, NotFound, CorruptData: with a message that says what to do.
        """
        ...


class Database(Protocol):
    """An open store. Who opens it closes it."""

    @property
    def identity(self) -> StoreIdentity:
        """Which store this is: its kind, where it is (without secrets), its version and how it is spoken to."""
        ...

    @property
    def limits(self) -> Limits:
        """What the store can hold and how much it takes at once: facts, not promises of this connection."""
        ...

    def collections(self) -> Iterable[CollectionSpec]:
        """Every collection, described as its source would describe it, in a stable order."""
        ...

    def source(self, name: str) -> Source:
        """The reading side of the collection whose `qualified_name` (or, if unique, `name`) is `name`.

        Raises:
            NotFound: no such collection; the message lists near names.
        """
        ...

    def sink(self, spec: CollectionSpec) -> Sink:
        """The writing side. Nothing is touched before `Sink.prepare`."""
        ...

    def close(self) -> None:
        """Let everything go: connections, locks, temporary files. Idempotent; sources and sinks are closed before."""
        ...


class Source(Protocol):
    """The bulk reading side of one collection. Thread-safe: several partitions may be read at once.

    Guarantee: reading every partition to its end yields every record exactly once; reading `after` a position
    yields exactly the records that came behind it. The trap: `after` is *exclusive*.
    """

    def describe(self) -> CollectionSpec:
        """What the collection is, by the store's own word: vectors, kind of ids, indexes, its card where it has one.

        `count` is the number of records now, None where the store cannot say.
        """
        ...

    def partitions(self) -> Iterable[Partition]:
        """Shares of the collection, stable across runs while the source does not change."""
        ...

    def read(self, partition: Partition, *, after: Position | None = None) -> Iterator[Chunk]:
        """Canonical batches (`vecferry.arrow`) of `partition`, strictly behind `after`, each with its position.

        A record that cannot be read is a rejection of its chunk, never an error.

        Raises:
            Unavailable, Throttled: from the iterator; reading `after` the last position goes on.
            CorruptData: the store itself is torn.
        """
        ...

    def close(self) -> None:
        """Let go of what reading held. Idempotent; the database stays open."""
        ...


class Sink(Protocol):
    """The bulk writing side of one collection. `write` is thread-safe.

    Guarantee: `write` is an upsert by id that replaces the whole record, durable when it returns; writing a batch
    again changes nothing. So "write, then commit the checkpoint" makes at-least-once harmless.
    """

    def prepare(self, spec: CollectionSpec) -> CollectionSpec:
        """Create the collection, or check that the existing one fits. Idempotent. Returns what the store really made.

        Raises:
            Conflict: it exists with another dimension, metric or vector name.
        """
        ...

    def write(self, batch: pa.RecordBatch) -> Receipt:
        """Write a batch; its receipt accounts for every row, as durable or as rejected.

        Raises:
            DataError: a record of it is at fault; the engine writes the others in smaller batches.
            ConnectorError: with the fact `too_large=True` where the store refuses the request for its size only; the
                engine sends less at once from then on.
        """
        ...

    def finish(self) -> None:
        """Build what was deferred (indexes), and wait until it serves. Idempotent."""
        ...

    def close(self) -> None:
        """Let go of what writing held. Idempotent; what was written stays, finished or not."""
        ...


# --------------------------------------------------------------------------- powers of a database


@runtime_checkable
class Pinnable(Protocol):
    """A source that may change under us, but can be held still."""

    def pin(self, folder: Path) -> Pin:
        """Take a snapshot into `folder` (or reuse the complete one there) and read only that from now on."""
        ...


@runtime_checkable
class Droppable(Protocol):
    """A database that can remove a collection."""

    def drop(self, name: str) -> None:
        """Remove a collection and everything in it. Removing what is not there is no error."""
        ...


@runtime_checkable
class Renamable(Protocol):
    """A database that can set a collection aside: it keeps all that it is, and no app finds it under its name."""

    def rename(self, name: str, new: str) -> None:
        """Give the collection `name`, qualified, the bare name `new` within its namespace.

        Raises:
            AlreadyExists: there is something of that name.
        """
        ...


@runtime_checkable
class Homed(Protocol):
    """A database whose sinks write into a namespace that its URL, not the spec, may name."""

    @property
    def home(self) -> tuple[str, ...]:
        """The namespace of a collection whose spec names none; a database without this power writes it into none."""
        ...


@runtime_checkable
class Configurable(Protocol):
    """A database that knows the settings of its collections, and short names for some."""

    def configured(self, spec: CollectionSpec) -> CollectionSpec:
        """`spec` with the short names in its config spelled out. Pure; again changes nothing.

        Raises:
            ConfigError: a setting that the store does not have, or a value that it does not take.
        """
        ...


@runtime_checkable
class Removable(Protocol):
    """A database that can be removed as a whole: a directory, a database of a server."""

    def belongings(self) -> Belongings:
        """What would be removed.

        Raises:
            Conflict: other things are among it, or it cannot be told what it is; says which.
        """
        ...

    def remove(self, seen: Belongings) -> None:
        """Remove it all, provided that it still is what was `seen`. The database is of no use after that.

        Raises:
            Conflict: it has changed since; nothing is removed.
        """
        ...


@runtime_checkable
class Portable(Protocol):
    """A database that other processes can open beside this one."""

    def address(self) -> StoreUrl:
        """A URL that opens this very store in any process of this machine, while it is open here too."""
        ...


@runtime_checkable
class Guarded(Protocol):
    """A database whose server may ask for a key."""

    def answers_without_key(self) -> bool | None:
        """Does the server answer a request that carries no key? None where we were given no key."""
        ...


@runtime_checkable
class Tabular(Protocol):
    """A database whose collections are tables. `collections` lists those with vectors, and those given to `use`."""

    def tables(self) -> Iterable[Table]:
        """Every table and view that the URL means and we may read, those without vectors too, in a stable order."""
        ...

    def use(self, name: str, form: Form) -> None:
        """From now on the table `name` is the collection that `form` makes of it, vectors or not.

        A later source and `collections` follow; a source that is open already stays as it is.

        Raises:
            NotFound: no such table.
            ConfigError: the form does not fit it (`vecferry.tables.check`).
        """
        ...


# --------------------------------------------------------------------------- powers of a source


@runtime_checkable
class Countable(Protocol):
    """A source that knows how many records it has."""

    def count(self) -> int:
        """The exact number of records, now."""
        ...


@runtime_checkable
class Fetchable(Protocol):
    """A source that finds records by their ids."""

    def fetch(self, ids: Sequence[str]) -> pa.RecordBatch:
        """The canonical records with these *original* ids, in any order; ids that are not there are left out."""
        ...


@runtime_checkable
class Existing(Protocol):
    """A source that can tell which ids it has, without reading the records."""

    def existing(self, ids: Sequence[str]) -> frozenset[str]:
        """Those of these *original* ids that the collection has already."""
        ...


@runtime_checkable
class Searchable(Protocol):
    """A source that finds nearest neighbours."""

    def search(
        self,
        queries: NDArray[np.float32],
        *,
        k: int,
        exact: bool = False,
        vector: str = "",
        where: Filter | None = None,
    ) -> list[list[Hit]]:
        """The `k` nearest records of each row of `queries` (shape (q, dim)), best first, with *original* ids.

        Raises:
            Unsupported: `exact` is asked for and the store has no exact search.
        """
        ...


@runtime_checkable
class Askable(Protocol):
    """A source of a server that applications ask while we read it, and that can be asked as they ask."""

    def asking(self, query: NDArray[np.float32], *, vector: str = "") -> Callable[[], object]:
        """What searches the ten records next to `query` (shape (dim,)) when it is called, as an application does.

        By the index that there is, with as little work of ours as can be: it is called again and again, and timed.
        """
        ...


@runtime_checkable
class FilterCountable(Protocol):
    """A source that counts the records that match a filter."""

    def count_where(self, where: Filter) -> int:
        """The exact number of records that match.

        Raises:
            Unsupported: the store cannot answer this predicate exactly.
        """
        ...


@runtime_checkable
class Watched(Protocol):
    """A source that notices that it is written to, without reading all of it."""

    def watch(self) -> Callable[[], bool]:
        """Begin to watch; what it returns says whether the collection was written to since. It outlives the source.

        A record that came, went or got another document or metadata is always noticed; of a vector that was replaced
        alone, the connector's own words say whether it is.
        """
        ...


# --------------------------------------------------------------------------- powers of a sink


@runtime_checkable
class Indexing(Protocol):
    """A sink that can tell how far its indexes are."""

    def indexed(self) -> int:
        """Vectors that the indexes hold by now; asked while `finish` runs in another thread."""
        ...


@runtime_checkable
class Deletable(Protocol):
    """A sink that removes records by their ids."""

    def delete(self, ids: Sequence[str]) -> None:
        """Remove the records with these *original* ids. Removing what is not there is no error."""
        ...


@runtime_checkable
class Predictive(Protocol):
    """A sink that knows how its store changes what it is given."""

    def expect(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """What reading `batch` back from this store will give, bit for bit. Pure.

        A sink without this power gives back what it was given.
        """
        ...


Power = TypeVar("Power")


def require(thing: object, power: type[Power], *, operation: str, instead: str) -> Power:
    """`thing` as a `power`.

    Raises:
        Unsupported: it has no such power. `operation` says what was wanted, `instead` what would support it.
    """
    if isinstance(thing, power):
        return thing
    raise Unsupported(f"{type(thing).__name__} cannot {operation}.", hint=instead)
