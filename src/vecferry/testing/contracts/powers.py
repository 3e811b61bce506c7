"""The contract of optional powers: either there and right, or asking for it raises `Unsupported`. Both are proven."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from vecferry.arrow import from_records, to_records
from vecferry.errors import NotFound, Unsupported, VecferryError
from vecferry.filters import And, Compare, Contains, Exists, Filter, Not, OneOf, Op, Or, matches
from vecferry.limits import Score, Shape
from vecferry.model import CollectionSpec, Metric, Record, VectorSpec
from vecferry.protocols import (
    Askable,
    Countable,
    Deletable,
    Droppable,
    Existing,
    Fetchable,
    FilterCountable,
    Power,
    Searchable,
    Watched,
    require,
)
from vecferry.testing.contracts.base import ConnectorContract, Session, read_all
from vecferry.testing.contracts.cases import DIM, collection, ids, plain_records, target
from vecferry.testing.contracts.compare import assert_same

FILTERS: tuple[Filter, ...] = (
    Compare("group", Op.EQ, "g3"),
    Compare("group", Op.EQ, "nowhere"),
    Compare("even", Op.EQ, True),
    Compare("even", Op.EQ, False),
    Compare("number", Op.EQ, 7),
    Compare("number", Op.GT, 50),
    Compare("number", Op.LTE, 50),
    Compare("share", Op.GTE, 2.5),
    Compare("share", Op.LT, 2.5),
    OneOf("group", ("g1", "g2", "nowhere")),
    OneOf("number", (1, 2, 3)),
    Exists("group"),
    Exists("nowhere"),
    Not(Compare("group", Op.EQ, "g3")),
    And((Compare("even", Op.EQ, True), Compare("number", Op.LT, 30))),
    Or((Compare("group", Op.EQ, "g1"), Compare("number", Op.GT, 90))),
    And((Or((Compare("group", Op.EQ, "g1"), Compare("group", Op.EQ, "g2"))), Not(Compare("even", Op.EQ, True)))),
)


class SourcePowers(ConnectorContract):
    """Powers of a source.

    Attributes:
        unanswered: predicates that the store cannot answer exactly; asking for them must raise.
    """

    unanswered: ClassVar[frozenset[Filter]] = frozenset()

    @pytest.fixture
    def seeded(self, session: Session) -> tuple[CollectionSpec, list[Record]]:
        """A hundred plain records, some with lists where the store keeps them."""
        spec = collection(self.limits, id_kind=self.id_kind)
        records = plain_records(spec, 100)
        if Shape.LIST in self.limits.keeps:
            for record in records[::3]:
                record.metadata = {**(record.metadata or {}), "tags": ["a", record.id]}
        session.seed(spec, records)
        return spec, records

    def test_power_counts(self, session: Session, seeded: tuple[CollectionSpec, list[Record]]) -> None:
        """`count` is exact."""
        source = has(session.source(seeded[0]), Countable)
        if source is not None:
            assert source.count() == 100

    def test_power_fetches(self, session: Session, seeded: tuple[CollectionSpec, list[Record]]) -> None:
        """`fetch` gives the whole records of these ids, and leaves out those that are not there."""
        spec, records = seeded
        plain = session.source(spec)
        source = has(plain, Fetchable)
        if source is not None:
            wanted = records[10:40:3]
            batch = source.fetch([*(record.id for record in wanted), self._absent()])
            assert_same(wanted, to_records(batch, plain.describe()))
            assert source.fetch([]).num_rows == 0

    def test_power_knows_existing(self, session: Session, seeded: tuple[CollectionSpec, list[Record]]) -> None:
        """`existing` says which of these ids are there."""
        spec, records = seeded
        source = has(session.source(spec), Existing)
        if source is not None:
            wanted = frozenset(record.id for record in records[5:60:5])
            assert source.existing([*wanted, self._absent()]) == wanted
            assert source.existing([]) == frozenset()

    def test_power_searches(self, session: Session) -> None:
        """An exact search finds what brute force finds, in its order, with the scores that the limits announce."""
        for metric in sorted(self.limits.metrics & {Metric.COSINE, Metric.L2, Metric.IP}):
            spec = collection(self.limits, VectorSpec(dim=DIM, metric=metric), id_kind=self.id_kind)
            records = plain_records(spec, 300, seed=2)
            session.seed(spec, records)
            source = has(session.source(spec), Searchable)
            queries = np.random.default_rng(5).standard_normal((6, DIM)).astype(np.float32)
            if source is None or not _is_exact(source, queries):
                return
            for where in (None, Compare("even", Op.EQ, True)):
                hits = source.search(queries, k=10, exact=True, where=where)
                for query, row in zip(queries, hits, strict=True):
                    nearest = brute_force(records, query, metric, where)[:10]
                    assert [hit.id for hit in row] == [text for text, _ in nearest], (metric, where)
                    wanted = [native(score, self.limits.scores[metric]) for _, score in nearest]
                    np.testing.assert_allclose([hit.score for hit in row], wanted, rtol=1e-4, atol=1e-5)

    def test_power_is_asked(self, session: Session, seeded: tuple[CollectionSpec, list[Record]]) -> None:
        """Whoever may be asked as an application asks can search, for that is what it is asked for."""
        spec, _ = seeded
        source = has(session.source(spec), Askable)
        if source is not None:
            assert isinstance(source, Searchable)
            query = np.random.default_rng(5).standard_normal(DIM).astype(np.float32)
            source.asking(query)()
            with pytest.raises(VecferryError):
                source.asking(query, vector="nowhere")()

    def test_power_counts_by_filter(self, session: Session, seeded: tuple[CollectionSpec, list[Record]]) -> None:
        """`count_where` agrees with the reference evaluator on every node of the filter tree, or is not given."""
        spec, records = seeded
        source = has(session.source(spec), FilterCountable)
        lists = (Contains("tags", "a"), Not(Contains("tags", "a"))) if Shape.LIST in self.limits.keeps else ()
        for where in (*FILTERS, *lists) if source is not None else ():
            assert source is not None
            if where in self.unanswered:
                with pytest.raises(Unsupported):
                    source.count_where(where)
            else:
                assert source.count_where(where) == sum(matches(where, record.metadata) for record in records), where

    def _absent(self) -> str:
        """A well-formed id that no record has."""
        return ids(self.id_kind, 10_000)[-1][0]


class SinkPowers(ConnectorContract):
    """Powers of a sink and of its store."""

    deletes: ClassVar[int] = 30

    def test_power_deletes(self, session: Session) -> None:
        """`delete` removes exactly these records; removing them again is no error."""
        spec = target(collection(self.limits))
        records = plain_records(spec, 100)
        plain = session.sink(spec)
        plain.write(from_records(spec, records))
        sink = has(plain, Deletable)
        if sink is not None:
            gone = [record.id for record in records[: self.deletes]]
            sink.delete(gone)
            sink.delete([*gone, "never-there"])
            assert_same(records[self.deletes :], session.dump(spec), kinds=False)
            assert_same(records[self.deletes :], session.read_back(spec))

    def test_power_deletes_and_writes_again(self, session: Session) -> None:
        """A record that is written after it was deleted is there, also behind `finish`."""
        spec = target(collection(self.limits))
        records = plain_records(spec, 20)
        plain = session.sink(spec)
        plain.write(from_records(spec, records))
        sink = has(plain, Deletable)
        if sink is not None:
            sink.delete([record.id for record in records])
            plain.write(from_records(spec, records[:5]))
            plain.finish()
            assert_same(records[:5], session.read_back(spec))

    def test_power_drops(self, session: Session) -> None:
        """`drop` removes a collection with its records; the name is free again; removing it again is no error."""
        spec = target(collection(self.limits))
        sink = session.sink(spec)
        sink.write(from_records(spec, plain_records(spec, 20)))
        sink.close()
        database = has(session.database, Droppable)
        if database is not None:
            database.drop(spec.name)
            database.drop(spec.name)
            with pytest.raises(NotFound):
                session.database.source(spec.name)
            assert list(session.database.collections()) == []
            again = plain_records(spec, 5, seed=1)
            session.sink(spec).write(from_records(spec, again))
            assert_same(again, session.read_back(spec))

    def test_power_watches(self, session: Session) -> None:
        """A record that comes, goes or changes is noticed; reading, and watching itself, is none of it."""
        spec = target(collection(self.limits))
        records = plain_records(spec, 20)
        sink = session.sink(spec)
        sink.write(from_records(spec, records))
        sink.finish()
        source = has(session.source(spec), Watched)
        if source is None:
            return
        other = replace(records[3], document="another document")
        for write in ([other], plain_records(spec, 21)[20:], None):
            written_to = source.watch()
            assert not written_to()
            assert len(read_all(session.source(spec))) >= 20
            assert not written_to()
            if write is not None:
                sink.write(from_records(spec, write))
            else:
                require(sink, Deletable, operation="delete", instead="").delete([records[0].id])
            assert written_to(), write


def has(thing: object, power: type[Power]) -> Power | None:
    """`thing` where it has the power; where not, prove that asking for it is refused with advice."""
    if isinstance(thing, power):
        return require(thing, power, operation="do this", instead="nothing else")
    with pytest.raises(Unsupported) as caught:
        require(thing, power, operation="do this", instead="Use another store.")
    assert caught.value.hint == "Use another store."
    return None


def brute_force(
    records: list[Record], query: NDArray[np.float32], metric: Metric, where: Filter | None = None
) -> list[tuple[str, float]]:
    """Ids with cosine, dot product or L2 distance, from near to far, computed in float64."""
    matching = [record for record in records if where is None or matches(where, record.metadata)]
    values = np.stack([np.asarray(next(iter(record.vectors.values())), np.float64) for record in matching])
    wanted = query.astype(np.float64)
    if metric is Metric.L2:
        scores = np.linalg.norm(values - wanted, axis=1)
    else:
        lengths = np.linalg.norm(values, axis=1) * np.linalg.norm(wanted) if metric is Metric.COSINE else 1.0
        scores = values @ wanted / lengths
    order = np.argsort(scores if metric is Metric.L2 else -scores, kind="stable")
    return [(matching[row].id, float(scores[row])) for row in order]


def native(score: float, form: Score) -> float:
    """A cosine, dot product or L2 distance in the form that a store's limits announce."""
    return {
        Score.SIMILARITY: score,
        Score.ONE_MINUS: 1 - score,
        Score.NEGATED: -score,
        Score.DISTANCE: score,
        Score.SQUARED: score**2,
    }[form]


def _is_exact(source: Searchable, queries: NDArray[np.float32]) -> bool:
    """Whether the store searches exactly; one that cannot must say so."""
    try:
        source.search(queries, k=1, exact=True)
    except Unsupported as error:
        if not error.hint:
            pytest.fail("Unsupported must say what would support it")
        return False
    return True
