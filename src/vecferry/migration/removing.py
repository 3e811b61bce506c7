"""The last step of `retire`: the source goes, provided that nobody wrote to it since it was looked at.

A collection that can be renamed is set aside as `NAME_archived_YYYYMMDD`, from where `bring_back` takes it home; it is
dropped only where that was asked for in so many words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime

from vecferry.errors import Conflict
from vecferry.migration.stores import opened, shown
from vecferry.model import Belongings, CollectionSpec
from vecferry.planning.aside import ARCHIVED, ASIDE, is_aside
from vecferry.planning.inspect import select
from vecferry.planning.patterns import Pattern, parse_patterns
from vecferry.protocols import Database, Droppable, Removable, Renamable, Watched, require

Changed = Callable[[str], bool]
"""Was the collection of this name written to?"""
_NAME_BYTES = 63
"""Of a name in PostgreSQL; MariaDB takes 64."""


@contextmanager
def watched(url: str, collections: Sequence[CollectionSpec]) -> Iterator[Changed]:
    """Watch collections for the length of a block; what it gives says whether one, by its name, was written to since.

    Stores that cannot be watched so are not: there the number of records is all that is compared.
    """
    with ExitStack() as stack:
        watches = dict(_watches(stack.enter_context(opened(url)), collections)) if collections else {}
        yield lambda name: name in watches and watches[name]()


def _watches(origin: Database, collections: Sequence[CollectionSpec]) -> Iterator[tuple[str, Callable[[], bool]]]:
    for spec in collections:
        with closing(origin.source(spec.qualified_name)) as source:
            if isinstance(source, Watched):
                yield spec.qualified_name, source.watch()


def set_aside(collections: Sequence[CollectionSpec]) -> dict[str, str]:
    """Qualified name -> the name under which each collection is set aside."""
    suffix = f"{ARCHIVED}{datetime.now(UTC):%Y%m%d}"
    most = _NAME_BYTES - len(suffix)
    return {spec.qualified_name: spec.name.encode()[:most].decode(errors="ignore") + suffix for spec in collections}


def bring_back(url: str, collections: Sequence[str]) -> dict[str, str]:
    """Give collections that were set aside their names back: qualified name -> new name.

    Args:
        collections: names or globs, or `NAME=OLD` where the old name was too long to stand in the new one.

    Raises:
        Conflict: nothing that was set aside has such a name.
        AlreadyExists: there is another of the old name; what was renamed before it stays renamed.
        NotFound, Unsupported, ConfigError, ConnectorError: the store cannot be used, or cannot rename.
    """
    with opened(url) as origin:
        power = require(origin, Renamable, operation="rename a collection", instead="Restore it from its archive.")
        patterns = parse_patterns(collections)
        chosen = select(list(origin.collections()), patterns, store=shown(url))
        names = {spec.qualified_name: _old_name(spec, patterns) for spec in chosen if is_aside(spec)}
        if not names:
            raise Conflict(
                f"Nothing that {', '.join(collections) or shown(url)} names was set aside.",
                hint="Name it as it is called now: -c NAME_archived_YYYYMMDD.",
            )
        for name, old in names.items():
            power.rename(name, old)
    return names


def _old_name(spec: CollectionSpec, patterns: Sequence[Pattern]) -> str:
    given = next((name for pattern in patterns if (name := pattern.rename(spec)) is not None), None)
    return given or ASIDE.sub("", spec.name)


def remove(
    url: str,
    belongings: Belongings | None,
    collections: Sequence[CollectionSpec],
    changed: Changed,
    aside: Mapping[str, str],
) -> None:
    """Remove the store as a whole, where it was looked at so, or these collections of it; rename those `aside`.

    Raises:
        Conflict: it was written to since.
    """
    with opened(url) as origin:
        if belongings is not None and isinstance(origin, Removable):
            origin.remove(belongings)
            return
        power = require(
            origin, Droppable, operation="drop a collection", instead="Remove it with the store's own means."
        )
        now = {one.qualified_name: (one.uid, one.count) for one in origin.collections()}
        for spec in collections:
            if now.get(spec.qualified_name) != (spec.uid, spec.count) or changed(spec.qualified_name):
                raise Conflict(
                    f"'{spec.qualified_name}' was written to meanwhile. What is not removed yet stays.",
                    hint="Stop what writes to it, then run the same command again.",
                )
            new = aside.get(spec.qualified_name)
            if new is not None and isinstance(origin, Renamable):
                origin.rename(spec.qualified_name, new)
            else:
                power.drop(spec.qualified_name)
