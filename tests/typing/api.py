"""Code as a user would write it, checked by mypy and never run: a change that breaks it breaks users."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import assert_type

import vecferry
from vecferry.errors import LossRefused, Throttled, VecferryError
from vecferry.planning.model import Plan
from vecferry.protocols import Countable, Database, Sink, Source
from vecferry.secret import Secret
from vecferry.url import StoreUrl

SOURCE = "chroma:./chroma_db"
TARGET = "qdrant+http://localhost:6333?grpc_port=6334&api_key=env:QDRANT_API_KEY"


def address() -> Secret | None:
    """A store's URL is a value with parts, and its key is a reference."""
    url = StoreUrl.parse(TARGET)
    assert_type(url.scheme, str)
    assert_type(url.port, int | None)
    return url.secret("api_key")


def whole_story() -> int:
    """Inspect, plan, migrate, verify: results are typed, and nothing has to be parsed out of text."""
    found = vecferry.inspect(SOURCE)
    assert_type(found.records, int)
    plan = vecferry.plan(SOURCE, TARGET)
    assert_type(plan, Plan)
    done = vecferry.migrate(SOURCE, TARGET, settings=vecferry.Settings(backup=Path("backup")))
    assert_type(done, vecferry.Migration)
    assert_type(done.report, Path | None)
    assert_type(done.differences, int | None)
    return done.records


def react(error: VecferryError) -> float | None:
    """Facts stand as attributes, so that nobody reads a message to decide."""
    assert_type(error.hint, str | None)
    if isinstance(error, LossRefused):
        assert_type(error.ids, tuple[str, ...])
    return error.retry_after if isinstance(error, Throttled) else None


def by_hand(database: Database) -> int:
    """The contracts are enough to copy a collection: what a connector's author relies on."""
    moved = 0
    with closing(vecferry.open_database("memory:target")) as target:
        for spec in database.collections():
            source: Source = database.source(spec.qualified_name)
            sink: Sink = target.sink(spec)
            for partition in source.partitions():
                for chunk in source.read(partition):
                    moved += sink.write(chunk.batch).rows
    return moved


def optional(source: Source) -> int | None:
    """A power is asked for by its protocol, never by a flag."""
    return source.count() if isinstance(source, Countable) else None
