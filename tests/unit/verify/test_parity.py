"""Searches and filters of the target are held against the truth, which is computed from the source."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from vecferry.arrow import from_records
from vecferry.connectors.postgres.facts import LIMITS as PGVECTOR
from vecferry.engine.stop import Stop
from vecferry.errors import Unsupported
from vecferry.events import silent
from vecferry.filters import And, Compare, Contains, Exists, Not, OneOf, Op, Or, matches
from vecferry.limits import Score
from vecferry.model import CollectionSpec, Element, Hit, Metric, Record, VectorSpec
from vecferry.planning.model import KeyProfile, Profile
from vecferry.verification import Level, State, scores
from vecferry.verification.exact import Nearest
from vecferry.verification.predicates import Counts, draw, facts_of_profile, facts_of_sample, show
from vecferry.verification.sample import Sample, metadata_of
from vecferry.verification.search import Question, check_search, feed
from vecferry.verification.tries import Tries

METRICS = [Metric.COSINE, Metric.IP, Metric.L2, Metric.L1]


def _plain(metric, query, vectors):
    """The definition of each similarity, written as plainly as can be."""
    q, v = query.astype(np.float64), vectors.astype(np.float64)
    match metric:
        case Metric.COSINE:
            return v @ q / (np.linalg.norm(v, axis=1) * np.linalg.norm(q))
        case Metric.IP:
            return v @ q
        case Metric.L2:
            return -((v - q) ** 2).sum(axis=1)
        case _:
            return -np.abs(v - q).sum(axis=1)


# --------------------------------------------------------------------------- exact search


@pytest.mark.parametrize("metric", METRICS)
def test_nearest_is_the_full_sort(metric):
    """One pass over uneven batches gives what sorting everything would give, in double precision."""
    random = np.random.default_rng(3)
    vectors = (random.standard_normal((5000, 24)) * random.uniform(0.1, 9, (5000, 1))).astype(np.float32)
    queries = random.standard_normal((20, 24)).astype(np.float32)
    nearest = Nearest(queries, metric, k=10, tie=1e-9)
    for start, end in ((0, 3), (3, 700), (700, 5000)):
        nearest.add(pa.array([str(n) for n in range(start, end)]), vectors[start:end])
    for number, query in enumerate(queries):
        wanted = _plain(metric, query, vectors)
        order = np.argsort(-wanted)[:10]
        hits = nearest.hits(number)[:10]
        assert [id_ for _, id_ in hits] == [str(n) for n in order]
        np.testing.assert_allclose([score for score, _ in hits], wanted[order], rtol=1e-12)


def test_nearest_keeps_all_that_tie_with_the_last():
    """Twenty equal vectors are all right answers for k = 5."""
    vectors = np.ones((20, 4), np.float32)
    nearest = Nearest(np.ones((1, 4), np.float32), Metric.L2, k=5, tie=1e-6)
    nearest.add(pa.array([str(n) for n in range(20)]), vectors)
    assert {id_ for _, id_ in nearest.hits(0)} == {str(n) for n in range(20)}
    assert not nearest.wide


def test_nearest_says_where_ties_are_too_many_to_keep():
    nearest = Nearest(np.ones((1, 4), np.float32), Metric.L2, k=5, tie=1e-6)
    nearest.add(pa.array([str(n) for n in range(1000)]), np.ones((1000, 4), np.float32))
    assert nearest.wide == {0}


def test_products_too_small_for_float32_may_have_vanished_in_a_store():
    """A store that flushes them to zero answers every record alike: all of them tie."""
    vectors = np.array([[1e-20] * 4, [2e-20] * 4, [3e-20] * 4], np.float32)
    nearest = Nearest(np.full((1, 4), 1e-25, np.float32), Metric.IP, k=1, tie=1e-5)
    nearest.add(pa.array(["a", "b", "c"]), vectors)
    best, _ = nearest.hits(0)[0]
    assert 0 < best < nearest.slack()[0] < 1e-36
    assert {ident for _, ident in nearest.hits(0)} == {"a", "b", "c"}


@pytest.mark.parametrize("metric", [Metric.L2, Metric.IP, Metric.COSINE])
def test_products_too_large_for_float32_are_measured_all_the_same(metric):
    """Among vectors whose squares float32 cannot hold, the nearest are still those of a full sort."""
    random = np.random.default_rng(5)
    vectors = (random.standard_normal((500, 8)) * 1e25).astype(np.float32)
    queries = (random.standard_normal((5, 8)) * 1e20).astype(np.float32)
    nearest = Nearest(queries, metric, k=3, tie=1e-9)
    nearest.add(pa.array([str(n) for n in range(500)]), vectors)
    for number, query in enumerate(queries):
        order = np.argsort(-_plain(metric, query, vectors), kind="stable")[:3]
        assert [id_ for _, id_ in nearest.hits(number)[:3]] == [str(n) for n in order]


def test_zero_vectors_have_cosine_similarity_zero():
    nearest = Nearest(np.eye(4, dtype=np.float32)[:1], Metric.COSINE, k=2, tie=1e-6)
    nearest.add(pa.array(["zero", "away"]), np.array([[0, 0, 0, 0], [-1, 0, 0, 0]], np.float32))
    assert nearest.hits(0) == [(0.0, "zero"), (-1.0, "away")]


@pytest.mark.parametrize(
    "metric,form,native",
    [
        (Metric.COSINE, Score.SIMILARITY, lambda s: s),
        (Metric.COSINE, Score.ONE_MINUS, lambda s: 1 - s),
        (Metric.IP, Score.ONE_MINUS, lambda s: 1 - s),
        (Metric.IP, Score.NEGATED, lambda s: -s),
        (Metric.L2, Score.DISTANCE, lambda s: (-s) ** 0.5),
        (Metric.L2, Score.SQUARED, lambda s: -s),
        (Metric.L1, Score.DISTANCE, lambda s: -s),
    ],
)
def test_native_scores_map_to_one_similarity(metric, form, native):
    """Each store's way of saying a score, undone."""
    similarity = -4.0 if metric in (Metric.L2, Metric.L1) else 0.25
    assert scores.to_similarity(metric, form, native(similarity)) == pytest.approx(similarity)


def test_tolerance_is_wider_for_a_store_of_half_floats():
    assert scores.tolerance(Element.FLOAT16) > scores.tolerance(Element.FLOAT32)


# --------------------------------------------------------------------------- the search check


def test_search_agrees_on_equal_stores(stage):
    search = stage.check(Level.SEARCH, queries=40)
    assert (search.state, search.scanned, search.differences) == (State.OK, 40, 0)
    assert search.figures["exact_overlap"] == 1.0
    assert search.figures["recall@10"] == 1.0
    assert search.figures["max_score_difference"] < 1e-6
    assert search.figures["p95_ms"] >= search.figures["p50_ms"] > 0


def test_search_notices_vectors_that_rank_otherwise(stage):
    """The content check would say so too; this one says what it means for an application."""
    shifted = [replace(record, vectors={"": np.roll(record.vectors[""], 1)}) for record in stage.records]
    stage.write(stage.target, shifted)
    search = stage.check(Level.SEARCH)
    assert search.state is State.DIFFERENT
    assert search.figures["exact_overlap"] < 0.5


def test_the_same_seed_asks_the_same_questions(stage):
    first, again = stage.check(Level.SEARCH), stage.check(Level.SEARCH)
    steady = ("exact_overlap", "recall@1", "recall@10")
    assert {name: first.figures[name] for name in steady} == {name: again.figures[name] for name in steady}


def _without(source, *names):
    """`source` as a store that lacks these powers."""
    kept = ("describe", "partitions", "read", "close", "count", "fetch", "search", "count_where")
    return type("Poorer", (), {name: getattr(source, name) for name in kept if name not in names})


def test_a_store_without_search_is_searched_by_brute_force_and_says_so(stage, monkeypatch):
    poorer = _without(stage.target.source("docs"), "search")
    monkeypatch.setattr(stage.target, "source", lambda _name: poorer)
    search = stage.check(Level.SEARCH, queries=10)
    assert search.state is State.OK
    assert "by brute force over every vector" in search.note
    assert search.skipped == {"the target's own search: it answers none through this connector": 10}
    assert "recall@10" not in search.figures


def test_a_store_whose_search_misses_shows_in_recall_not_in_the_data(stage, monkeypatch):
    """An index that finds half of the neighbours loses no record, but the report must say it."""
    source = stage.target.source("docs")
    search = source.search

    def half(queries, *, k, exact=False, **rest):
        hits = search(queries, k=k, exact=exact, **rest)
        return (
            hits
            if exact
            else [[*answer[: k // 2], *(Hit("nobody", 0.0) for _ in range(k - k // 2))] for answer in hits]
        )

    monkeypatch.setattr(source, "search", half)
    monkeypatch.setattr(stage.target, "source", lambda _name: source)
    found = stage.check(Level.SEARCH)
    assert found.figures["recall@10"] == 0.5
    assert "That is low" in found.note
    assert found.state is State.OK


def test_duplicate_vectors_tie_and_are_no_difference(stage):
    """Every record the same vector: any ten of them are right."""
    for database in (stage.source, stage.target):
        stage.write(database, [replace(record, vectors=stage.records[0].vectors) for record in stage.records])
    assert stage.check(Level.SEARCH).state is State.OK


# --------------------------------------------------------------------------- filters


def test_filters_agree_on_equal_stores(stage):
    check = stage.check(Level.FILTERS)
    assert check.state is State.OK
    assert check.compared == check.scanned == 24


def test_filters_notice_metadata_that_changed_type(stage):
    """A page number that became text is found by no filter for the number."""
    pages = [record for record in stage.records if record.metadata]
    stage.write(stage.target, [replace(r, metadata={**r.metadata, "page": str(r.metadata["page"])}) for r in pages])
    check = stage.check(Level.FILTERS)
    assert check.state is State.DIFFERENT
    assert any(finding.id.startswith("page") for finding in check.findings)


def test_an_index_that_answers_wrongly_is_found(stage, monkeypatch):
    """The records are right, but filters over them are not."""
    source = stage.target.source("docs")
    count = source.count_where
    monkeypatch.setattr(source, "count_where", lambda node: count(node) - isinstance(node, Exists))
    monkeypatch.setattr(stage.target, "source", lambda _name: source)
    found = stage.verify()
    assert found.identical
    assert found.differences == found.collections[0].check(Level.FILTERS).differences > 0


def test_predicates_that_a_store_cannot_answer_exactly_are_skipped_with_its_reason(stage, monkeypatch):
    source = stage.target.source("docs")
    count = source.count_where

    def picky(node):
        if "tags" in show(node):
            raise Unsupported("Lists are not matched exactly.")
        return count(node)

    monkeypatch.setattr(source, "count_where", picky)
    monkeypatch.setattr(stage.target, "source", lambda _name: source)
    check = stage.check(Level.FILTERS)
    assert check.state is State.OK
    assert check.skipped["Lists are not matched exactly."] == check.scanned - check.compared > 0


def test_a_store_that_counts_no_filters_is_not_checked(stage, monkeypatch):
    poorer = _without(stage.target.source("docs"), "count_where")
    monkeypatch.setattr(stage.target, "source", lambda _name: poorer)
    found = stage.verify()
    assert found.collections[0].check(Level.FILTERS).state is State.NOT_CHECKED
    assert found.identical, "the records are all there"
    assert not found.ok, "but not everything was looked at"


def test_counts_are_those_of_the_reference_evaluator():
    """Counting by distinct value must not change what a predicate means: 1 is 1.0 but not true, lists never equal."""
    values = [1, 1.0, True, False, 0, "1", "ü", None, [1], ["a"], {"x": 1}, -0.0, 2**63, 0.5]
    metadata = [{"a": value, "b": value} for value in values] + [None, {}, {"b": 1}]
    leaves = [
        Compare("a", Op.EQ, 1),
        Compare("a", Op.EQ, True),
        Compare("a", Op.EQ, "1"),
        Compare("a", Op.GTE, 0.5),
        OneOf("a", (1, "ü")),
        Contains("a", 1),
        Exists("a"),
        Exists("b"),
    ]
    nodes = [
        *leaves,
        *map(Not, leaves),
        And(tuple(leaves[:2])),
        Or(tuple(leaves)),
        And(()),
        Or(()),
        Not(And((leaves[0],))),
    ]
    counts = Counts(nodes)
    for start in range(0, len(metadata), 5):
        counts.add(metadata[start : start + 5])
    assert counts.counts == [sum(matches(node, record) for record in metadata) for node in nodes]


def test_predicates_cover_every_kind_and_are_true_of_some_record():
    """Drawn from real values, so that a filter that finds nothing on both sides proves little and is rare."""
    metadata = [{"lang": "日本", "page": n, "new": n % 2 == 0, "tags": ["a"], "score": n / 3} for n in range(40)]
    drawn = draw(facts_of_sample(metadata), 24)
    kinds = {type(node) for node in drawn}
    assert len(drawn) == 24
    assert {Compare, OneOf, Contains, Exists, And, Or, Not} <= kinds
    assert any("日本" in show(node) for node in drawn)
    assert sum(any(matches(node, record) for record in metadata) for node in drawn) > 16


def test_predicates_may_come_from_a_profile(stage):
    keys = {"lang": KeyProfile(types={"str": 9}, values=(("de", 5), ("en", 4)))}
    profile = Profile(spec=stage.spec, records=9, bytes=1, keys=keys)
    assert Compare("lang", Op.EQ, "de") in draw(facts_of_profile(profile), 5)


# --------------------------------------------------------------------------- the sample


def test_a_sample_is_uniform_enough_and_repeats_with_its_seed(stage):
    """The same questions come again; every part of the collection has its share of them."""
    batches = [
        chunk.batch for p in stage.source.source("docs").partitions() for chunk in stage.source.source("docs").read(p)
    ]
    samples = []
    for _ in range(2):
        sample = Sample(60, seed=9)
        for batch in batches:
            sample.add(batch)
        samples.append(sample)
    vector = stage.spec.vectors[0]
    np.testing.assert_array_equal(samples[0].queries(vector, 50), samples[1].queries(vector, 50))
    pages = [record["page"] for record in samples[0].metadata()]
    assert len(pages) <= 60
    assert min(pages) < 10
    assert max(pages) > 40


def test_metadata_of_a_batch_restores_tagged_values(stage):
    batch = next(iter(stage.source.source("docs").read(stage.source.source("docs").partitions()[0]))).batch
    assert metadata_of(batch)[:2] == [record.metadata for record in sorted(stage.records, key=lambda r: r.id)[:2]]


def test_vectors_too_long_to_square_are_no_queries():
    """A store squares in float32: a query of 3e38 would be answered with an error, and the run could never end."""
    spec = CollectionSpec(name="c", vectors=(VectorSpec(dim=4, metric=Metric.L2),))
    lengths = (1.0, 3e38, 1e30, 0.0)
    records = [Record(id=str(n), vectors={"": np.full(4, x, np.float32)}) for n, x in enumerate(lengths)]
    sample = Sample(10, seed=1)
    sample.add(from_records(spec, records))
    queries = sample.queries(spec.vectors[0], 20)
    assert len(queries) == 20
    assert np.abs(queries).max() < 10


@pytest.mark.parametrize("dim", [1, 3, 1536])
def test_which_vectors_have_a_cosine_in_single_precision(dim):
    """The sum of their squares is there, and not of what is too small for a normal number."""
    lengths = np.array([0, 1e-30, 1e-20, 1e-17, 1, 1e18, 3e19], np.float64)
    vectors = (np.full((len(lengths), dim), 1 / np.sqrt(dim)) * lengths[:, None]).astype(np.float32)
    assert scores.has_cosine(vectors).tolist() == [False, False, False, True, True, True, False]


class _Answering:
    """A target that gives one answer to every query."""

    def __init__(self, hits):
        self._hits = hits

    def search(self, queries, **_):
        return [self._hits] * len(queries)


@pytest.mark.parametrize(
    "hits, state, compared",
    [
        ([Hit("good", 0.0), Hit("odd", 0.0)], State.OK, 1),
        ([Hit("odd", 0.0), Hit("other", 0.0)], State.NOT_CHECKED, 0),
        ([Hit("good", float("nan")), Hit("zero", float("nan"))], State.DIFFERENT, 1),
        ([Hit("odd", 0.0), Hit("good", float("nan"))], State.DIFFERENT, 1),
    ],
)
def test_an_answer_of_which_nothing_can_be_judged_is_no_proof(hits, state, compared):
    """Records without a cosine may fill a whole answer; vectors that became zero in the target have no distance."""
    vector = VectorSpec(dim=2)
    spec = CollectionSpec(name="c", vectors=(vector,))
    question = Question(vector, vector, Nearest(np.ones((1, 2), np.float32), Metric.COSINE, k=2, tie=1e-6), single=True)
    lengths = {"good": 1.0, "odd": 1e-30, "other": 1e-30, "zero": 0.0}
    records = [Record(id=ident, vectors={"": np.full(2, x, np.float32)}) for ident, x in lengths.items()]
    feed([question], from_records(spec, records))
    tries = Tries("c", stop=Stop(), deadline_seconds=1, observer=silent)
    check = check_search(question, _Answering(hits), PGVECTOR, tries=tries)
    assert (check.state, check.compared) == (state, compared)
