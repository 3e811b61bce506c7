"""The search parity check: exact search against exact search, then the target's own search against the exact one."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecferry.arrow import dense, present
from vecferry.errors import Unsupported
from vecferry.limits import Limits, Score
from vecferry.model import CollectionSpec, Hit, Metric, VectorSpec
from vecferry.protocols import Searchable, Source
from vecferry.verification import scores
from vecferry.verification.exact import Nearest
from vecferry.verification.model import Check, Difference, Finding, Level, State
from vecferry.verification.sample import Sample, dense_vectors
from vecferry.verification.tries import Tries

Scored = tuple[str, float | None]
"""An id, and its similarity where the store's scores can be mapped."""


@dataclass(slots=True)
class Question:
    """One vector's queries, and their true nearest records once the source has passed.

    Attributes:
        single: the target has no cosine for vectors that are too long or too short: they are left out, and counted.
        odd: ids of such records that are not zero. pgvector finds them anywhere, at the distance 0 too.
    """

    vector: VectorSpec
    stored: VectorSpec
    truth: Nearest
    single: bool = False
    queries_left: int = 0
    records_left: int = 0
    odd: set[str] = field(default_factory=set)


def questions(
    source: CollectionSpec, target: CollectionSpec, sample: Sample, limits: Limits, *, count: int, k: int
) -> list[Question]:
    """What to ask: for each dense vector that both sides have, with one dimension and a metric that can be measured.

    `limits`: of the target.
    """
    there = {vector.name: vector for vector in target.vectors}
    asked = []
    for vector in dense_vectors(source):
        stored = there.get(vector.name)
        if stored is None or stored.dim != vector.dim or vector.metric not in scores.MEASURED:
            continue
        queries = sample.queries(vector, count)
        if len(queries):
            single = limits.cosine_in_single and stored.metric is Metric.COSINE
            good = queries[scores.has_cosine(queries)] if single else queries
            truth = Nearest(good, vector.metric, k=k, tie=scores.tolerance(stored.element))
            asked.append(Question(vector, stored, truth, single, queries_left=len(queries) - len(good)))
    return asked


def feed(asked: Sequence[Question], batch: pa.RecordBatch) -> None:
    """Let a batch of the source pass every question."""
    for question in asked:
        left = _without(question, batch) if question.single else None
        _feed(question.truth, question.vector, batch, left)


def _without(question: Question, batch: pa.RecordBatch) -> NDArray[np.bool_]:
    """Which records of a batch are left out; they are noted in `question`."""
    values = dense(batch, question.vector).astype(np.float32, copy=False)
    left: NDArray[np.bool_] = present(batch, question.vector) & ~scores.has_cosine(values)
    question.records_left += int(left.sum())
    question.odd.update(batch.column("id").filter(pa.array(left & values.any(axis=1))).to_pylist())
    return left


def _feed(nearest: Nearest, vector: VectorSpec, batch: pa.RecordBatch, left: NDArray[np.bool_] | None = None) -> None:
    there = present(batch, vector) if left is None else present(batch, vector) & ~left
    values, ids = dense(batch, vector), batch.column("id")
    if there.all():
        nearest.add(ids, values)
    else:
        nearest.add(ids.filter(pa.array(there)), values[there])


def check_search(question: Question, target: Source, limits: Limits, *, tries: Tries) -> Check:
    """Ask the target and hold its answers against the truth."""
    begun = time.monotonic()
    name = question.vector.name
    if not len(question.truth.queries):
        return Check(level=Level.SEARCH, state=State.NOT_CHECKED, skipped=_without_cosine(question), note=_NO_COSINE)
    exact, how = _exact(question, target, limits, tries)
    result = _judge(question, exact)
    compared = len(question.truth.queries) - result.unseen
    figures = dict(result.figures)
    skipped = {**result.skipped, **_without_cosine(question)}
    notes = [
        f"Vector '{name}'." if name else "",
        how,
        _NO_COSINE if question.queries_left + question.records_left else "",
    ]
    if isinstance(target, Searchable):
        try:
            figures |= _approximate(question, target, tries)
            notes.append(_recall_note(figures, question.truth.k))
        except Unsupported as reason:
            skipped[f"the target's own search: {reason.message}"] = len(question.truth.queries)
    else:
        skipped["the target's own search: it answers none through this connector"] = len(question.truth.queries)
    return Check(
        level=Level.SEARCH,
        state=State.DIFFERENT if result.findings else State.OK if compared else State.NOT_CHECKED,
        scanned=len(question.truth.queries),
        compared=compared,
        skipped=skipped,
        differences=len(result.findings),
        findings=tuple(result.findings),
        figures=figures,
        note=" ".join(note for note in notes if note),
        seconds=time.monotonic() - begun,
    )


_NO_COSINE = "The target has no cosine for vectors whose squares are too large or too small for float32."


def _without_cosine(question: Question) -> dict[str, int]:
    left = {"queries without a cosine": question.queries_left, "records without a cosine": question.records_left}
    return {what: count for what, count in left.items() if count}


def _exact(question: Question, target: Source, limits: Limits, tries: Tries) -> tuple[list[list[Scored]], str]:
    """The target's exact answers, and a sentence on how they were had."""
    if isinstance(target, Searchable):
        try:
            ask = partial(target.search, k=question.truth.k, exact=True, vector=question.vector.name)
            hits = tries.call("searching exactly", lambda: ask(question.truth.queries))
        except Unsupported:
            pass
        else:
            how = "Both sides searched exactly: the source by brute force, the target by its own exact search."
            return [_scored(answer, question, limits) for answer in hits], how
    nearest = Nearest(question.truth.queries, question.vector.metric, k=question.truth.k, tie=0.0)
    for chunk in tries.chunks(target):
        _feed(nearest, question.stored, chunk.batch)
    answers: list[list[Scored]] = [
        [(id_, score) for score, id_ in nearest.hits(query)[: nearest.k]] for query in range(len(nearest.queries))
    ]
    return answers, "Both sides searched exactly, by brute force over every vector."


def _scored(hits: Sequence[Hit], question: Question, limits: Limits) -> list[Scored]:
    metric = question.stored.metric
    form = limits.scores.get(metric)
    return [(hit.id, _similarity(form, question, hit)) for hit in hits]


def _similarity(form: Score | None, question: Question, hit: Hit) -> float | None:
    return None if form is None else scores.to_similarity(question.stored.metric, form, hit.score)


# --------------------------------------------------------------------------- judging


@dataclass(slots=True)
class _Judgement:
    findings: list[Finding] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    unseen: int = 0
    """queries that were answered by records without a cosine alone"""


def _judge(question: Question, answers: Sequence[Sequence[Scored]]) -> _Judgement:
    """Score sequences must agree within rounding, ids up to ties."""
    truth, slack = question.truth, question.truth.slack()
    result, overlaps, worst = _Judgement(), [], 0.0
    unscored = 0
    for query, given in enumerate(answers):
        near = truth.hits(query)
        known = {id_: score for score, id_ in near}
        answer, odd = _measured(question, given)
        wanted = min(truth.k - odd, len(near))
        if near and not wanted:
            result.unseen += 1
            continue
        right = sum(id_ in known for id_, _ in answer)
        overlaps.append(right / wanted if wanted else 1.0)
        apart = _apart(near, answer)
        worst = max(worst, apart or 0.0)
        unscored += apart is None
        wide = query in truth.wide
        if what := _problem(len(answer), wanted, right if not wide else wanted, apart, float(slack[query])):
            result.findings.append(Finding(difference=Difference.CHANGED, id=f"query {query + 1}", what=what))
    result.figures = {"k": float(truth.k), "exact_overlap": float(np.mean(overlaps)) if overlaps else 1.0}
    if result.unseen:
        result.skipped["queries answered by records without a cosine alone"] = result.unseen
    if unscored:
        result.skipped["score differences: the connector does not say what its scores mean"] = unscored
    else:
        result.figures["max_score_difference"] = worst
    return result


def _measured(question: Question, answer: Sequence[Scored]) -> tuple[Sequence[Scored], int]:
    """(what of an answer can be held against the truth, how many odd records took the place of another).

    Odd ones stand anywhere in it; what has no distance at all stands behind all that have one, and takes no place.
    """
    if not question.single:
        return answer, 0
    known = [hit for hit in answer if hit[0] not in question.odd]
    return [(id_, score) for id_, score in known if not (score and math.isnan(score))], len(answer) - len(known)


def _apart(near: Sequence[tuple[float, str]], answer: Sequence[Scored]) -> float | None:
    """The largest difference of two score sequences, None where the target's cannot be mapped."""
    given = [score for _, score in answer if score is not None]
    if len(given) < len(answer):
        return None
    return max((abs(a - b) for (a, _), b in zip(near, sorted(given, reverse=True), strict=False)), default=0.0)


def _problem(got: int, wanted: int, right: int, apart: float | None, slack: float) -> str:
    if got != wanted:
        return f"{got} results where {wanted} were expected"
    if right < got:
        return f"{got - right} of {got} results are not among the nearest records of the source"
    if apart is not None and apart > slack:
        return f"scores differ by up to {apart:.3g}, rounding explains {slack:.3g}"
    return ""


# --------------------------------------------------------------------------- the target's own search


def _approximate(question: Question, target: Searchable, tries: Tries) -> dict[str, float]:
    """Recall against the truth, and latency, of the search that applications make; one query at a time."""
    truth = question.truth
    took, answers = [], []
    for query in truth.queries:
        ask = partial(target.search, query[None], k=truth.k, vector=question.vector.name)
        begun = time.perf_counter()
        answers.append(tries.call("searching", ask)[0])
        took.append((time.perf_counter() - begun) * 1000)
    figures = {f"recall@{k}": _recall(truth, answers, k) for k in sorted({1, min(10, truth.k), truth.k})}
    return figures | {"p50_ms": float(np.percentile(took, 50)), "p95_ms": float(np.percentile(took, 95))}


def _recall(truth: Nearest, answers: Sequence[Sequence[Hit]], k: int) -> float:
    """The share of the `k` nearest records that were found; a record that ties with the k-th counts as one of them."""
    slack = truth.slack()
    return float(np.mean([share for q, answer in enumerate(answers) for share in _shares(truth, q, answer, k, slack)]))


def _shares(truth: Nearest, query: int, answer: Sequence[Hit], k: int, slack: NDArray[np.float64]) -> Iterator[float]:
    near = truth.hits(query)
    wanted = min(k, len(near))
    if wanted:
        floor = near[wanted - 1][0] - float(slack[query])
        good = {id_ for score, id_ in near if score >= floor}
        yield sum(hit.id in good for hit in answer[:wanted]) / wanted


def _recall_note(figures: dict[str, float], k: int) -> str:
    recall = figures[f"recall@{k}"]
    low = " That is low: raise hnsw_ef or rebuild the index before you rely on it." if recall < 0.9 else ""
    return f"The target's own search finds {recall:.1%} of the {k} nearest records.{low}"
