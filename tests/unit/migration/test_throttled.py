"""A store that asks for less is asked again, and keeps its powers meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from vecferry import protocols
from vecferry.connectors.memory import MemoryDatabase
from vecferry.engine.stop import Stop
from vecferry.errors import Interrupted, NotFound, Throttled, Unavailable
from vecferry.events import Event, Retried
from vecferry.migration.throttled import Again, patient
from vecferry.model import CollectionSpec, VectorSpec
from vecferry.protocols import Database
from vecferry.registry import open_database
from vecferry.url import StoreUrl

SPEC = CollectionSpec(name="docs", vectors=(VectorSpec(dim=2),))
POWERS = [kind for kind in vars(protocols).values() if getattr(kind, "_is_runtime_protocol", False)]


class Busy(MemoryDatabase):
    """A store that refuses, in the middle of its list too, as often as `refusals` says."""

    def __init__(self, refusals: int) -> None:
        super().__init__(StoreUrl.parse("memory:busy"))
        self.refusals = refusals

    def refuse(self) -> None:
        if self.refusals:
            self.refusals -= 1
            raise Throttled("Slow down.", retry_after=0.0, hint="Wait.")

    @property
    def limits(self) -> Any:
        self.refuse()
        return super().limits

    def collections(self) -> Iterator[CollectionSpec]:
        for spec in super().collections():
            yield spec
            self.refuse()

    def source(self, name: str) -> Any:
        self.refuse()
        return super().source(name)


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def again(told: list[Event]) -> Again:
    return Again(store="memory:busy", observer=told.append)


@pytest.fixture
def busy() -> Iterator[Busy]:
    database = Busy(0)
    database.sink(SPEC).prepare(SPEC)
    yield database
    database.drop("docs")


@pytest.mark.parametrize(
    "asked",
    [
        lambda store: [spec.name for spec in store.collections()] == ["docs"],
        lambda store: store.source("docs").describe().name == "docs",
        lambda store: store.limits == MemoryDatabase(StoreUrl.parse("memory:busy")).limits,
    ],
    ids=["list", "source", "limits"],
)
def test_it_is_asked_again_and_somebody_is_told(asked: Any, busy: Busy, again: Again, told: list[Event]) -> None:
    """A list begins anew: what came of it before the refusal is not given twice."""
    busy.refusals = 2
    assert asked(patient(busy, again))
    assert busy.refusals == 0
    assert [(e.collection, e.attempt, e.error) for e in told if isinstance(e, Retried)] == [
        ("memory:busy", 1, "Slow down."),
        ("memory:busy", 2, "Slow down."),
    ]


@pytest.mark.parametrize("error", [NotFound("No.", hint="h"), Unavailable("Gone.", hint="h")], ids=["no", "gone"])
def test_another_error_is_raised_at_once(error: Exception, again: Again, told: list[Event]) -> None:
    """Also one that may pass: somebody who mistyped a host is not to wait for it."""

    def call() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        again(call)
    assert caught.value is error
    assert told == []


def test_it_gives_up_after_the_deadline(busy: Busy) -> None:
    busy.refusals = 1_000
    with pytest.raises(Interrupted, match="Slow down"):
        patient(busy, Again(store="s", deadline_seconds=0.0)).source("docs")
    assert busy.refusals == 999


def test_it_gives_up_when_it_is_stopped(busy: Busy) -> None:
    stop = Stop()
    stop.request()
    busy.refusals = 1_000
    with pytest.raises(Interrupted, match="Stopped on request"):
        patient(busy, Again(store="s", stop=stop)).source("docs")


@pytest.mark.parametrize("scheme", ["memory", "files", "chroma", "qdrant"])
def test_a_store_keeps_its_powers_and_gets_none(scheme: str, again: Again, tmp_path: Any) -> None:
    with closing(open_database(f"{scheme}:{tmp_path / 'store'}")) as database:
        shown: Database = patient(database, again)
        assert [isinstance(shown, power) for power in POWERS] == [isinstance(database, power) for power in POWERS]
        assert shown.identity == database.identity


def test_one_of_these_powers_is_there() -> None:
    """Else the test before would say nothing."""
    assert protocols.Droppable in POWERS
    assert protocols.Pinnable in POWERS
