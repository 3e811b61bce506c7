"""Look at a whole store before anything is decided: which collections, and what is in each."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from vecferry.errors import ConfigError, NotFound
from vecferry.events import Notice, Observer, silent
from vecferry.limits import Limits
from vecferry.model import CollectionSpec, IdRule, Pin
from vecferry.planning.aside import live
from vecferry.planning.model import Inspection
from vecferry.planning.patterns import Pattern, parse_patterns
from vecferry.planning.profile import Chunks, profile, straight
from vecferry.protocols import Database, Tabular
from vecferry.tables import guess


def inspect(
    database: Database,
    *,
    url: str,
    patterns: Sequence[str] = (),
    observer: Observer = silent,
    pin: Pin | None = None,
    rule: IdRule | None = None,
    limits: Limits | None = None,
    chunks: Chunks = straight,
    by: Sequence[str] = (),
) -> Inspection:
    """Profile every collection of `database` that `patterns` name (all, where there are none).

    Args:
        url: of the store, without secrets, for the record.
        patterns: names with `*`, or `old=new`, of which only `old` counts here.
        pin: the snapshot that is read, if there is one.
        rule: the id rule to prove in the same pass; the default one if not given.
        limits: of the target, where there is one: what only it minds is counted too.
        chunks: how a source is read, for who wants to try again what breaks off.
        by: metadata keys by whose values the records are counted.

    Raises:
        NotFound: a pattern fits no collection; the message lists near names.
        ConfigError: the store holds no collection at all, or a table that is asked for by name has no key.
    """
    started = time.monotonic()
    wanted = parse_patterns(patterns)
    there = live(database, wanted, observer)
    for spec in _left_out(database, there):
        if any(pattern.fits(spec) and "*" not in pattern.source for pattern in wanted):
            database.source(spec.qualified_name).close()  # asked for by name: this refuses, and says what would help
        if not wanted or any(pattern.fits(spec) for pattern in wanted):
            told = f"'{spec.qualified_name}' is left out: it has no key. Give it one, or a preset with its `key`."
            observer(Notice(level="warning", message=told))
    found = select(there, wanted, store=url)
    profiles = []
    for spec in found:
        source = database.source(spec.qualified_name)
        try:
            profiles.append(profile(source, observer, rule=rule, limits=limits, chunks=chunks, by=by))
        finally:
            source.close()
    seconds = time.monotonic() - started
    return Inspection(store=database.identity, url=url, pin=pin, profiles=tuple(profiles), seconds=seconds)


def _left_out(database: Database, collections: Sequence[CollectionSpec]) -> Iterator[CollectionSpec]:
    """The tables and views with vectors that are no collections, since nothing tells their rows apart."""
    known = {(spec.namespace, spec.name) for spec in collections}
    for table in database.tables() if isinstance(database, Tabular) else ():
        form = guess(table)
        if form.vectors and not form.key and (table.namespace, table.name) not in known:
            yield CollectionSpec(name=table.name, namespace=table.namespace)


def select(collections: Sequence[CollectionSpec], patterns: Sequence[Pattern], *, store: str) -> list[CollectionSpec]:
    """The collections that some pattern fits, in the store's order.

    Raises:
        NotFound: a pattern fits none.
        ConfigError: the store is empty.
    """
    if not collections:
        raise ConfigError(
            f"{store} holds no collection; there is nothing to move.",
            hint="Check the path or URL; a Chroma folder made by another tenant or process may lie elsewhere.",
        )
    for pattern in patterns:
        if not any(pattern.fits(spec) for spec in collections):
            raise _not_found(pattern, collections, store)
    return [spec for spec in collections if not patterns or any(pattern.fits(spec) for pattern in patterns)]


def _not_found(pattern: Pattern, collections: Sequence[CollectionSpec], store: str) -> NotFound:
    names = [spec.name for spec in collections]
    near = get_close_matches(pattern.source, names, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return NotFound(f"{store} has no collection '{pattern.source}'.", store=store, hint=f"{hint}It has: {shown}.")
