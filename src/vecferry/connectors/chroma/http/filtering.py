"""Counting the records that match a filter, by Chroma's own `where`: exactly, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vecferry.connectors.chroma import _codec
from vecferry.connectors.chroma.http import facts
from vecferry.connectors.chroma.http.collection import Collection
from vecferry.connectors.chroma.where import Where, rounded
from vecferry.connectors.chroma.where import where as to_where
from vecferry.errors import DataError, Unsupported
from vecferry.filters import Filter, Not, leaves_of


class Seen:
    """Which types of value stand under each metadata key, and which keys stand in our envelopes.

    Attributes:
        types: key -> types of its values.
        wrapped: keys that no filter of Chroma's sees, in some record.
    """

    def __init__(self) -> None:
        self.types: dict[str, set[type]] = {}
        self.wrapped: set[str] = set()

    def add(self, metadatas: Sequence[dict[str, Any] | None]) -> None:
        """Take more records into account."""
        for metadata in metadatas:
            for key, value in (metadata or {}).items():
                self.types.setdefault(key, set()).add(type(value))
            self.wrapped.update(_codec.wrapped_keys((metadata or {}).get(_codec.ENVELOPE)))


def count(collection: Collection, where: Filter, look: Callable[[], Seen], *, ours: bool, cloud: bool) -> int:
    """The exact number of records that match; `look` reads the metadata, and is asked only where it decides.

    Raises:
        Unsupported: Chroma has no such filter, it would round, or some records keep the key where no filter looks.
    """
    leaves = list(leaves_of(where))
    if cloud and len(leaves) > facts.PREDICATES:
        raise Unsupported(
            f"Chroma Cloud takes {facts.PREDICATES} conditions in a filter, this one has {len(leaves)}.",
            store=collection.store,
            hint="Leave this predicate out; verification does, and says so.",
        )
    hidden = look().wrapped & {leaf.key for leaf in leaves} if ours else ()
    if hidden:
        raise Unsupported(
            f"Some records keep '{min(hidden)}' in a form that Chroma's filters cannot see; the plan said so.",
            store=collection.store,
            hint="Read the records and look at the key yourself.",
        )
    for key, kind in rounded(where):
        if kind in look().types.get(key, ()):
            raise Unsupported(
                f"Chroma rounds numbers under '{key}', which holds integers and floats both, to compare them.",
                store=collection.store,
                hint="Keep numbers of one type under a key.",
            )
    return _count(collection, where)


def _count(collection: Collection, where: Filter) -> int:
    try:
        return _matching(collection, to_where(where))
    except Unsupported:
        if not isinstance(where, Not):
            raise
    return collection.count() - _count(collection, where.part)


def _matching(collection: Collection, chosen: Where) -> int:
    """Page by page, since Chroma gives ids and no count; a page may be shorter than it was asked for."""
    found = 0
    while True:
        try:
            page = collection.get(where=chosen, limit=collection.listed, offset=found, include=[])["ids"]
        except DataError as error:
            raise Unsupported(
                f"This version of Chroma does not take the filter: {error.message}",
                store=collection.store,
                hint="A newer server may; the records are compared all the same.",
            ) from error
        if not page:
            return found
        found += len(page)
