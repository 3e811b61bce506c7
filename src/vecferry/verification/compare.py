"""`compare`: the same queries against source and target, side by side: how long one takes, how many a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from vecferry.engine.stop import Stop
from vecferry.errors import ConfigError, NotFound, Unsupported
from vecferry.events import Observer, silent
from vecferry.protocols import Database, Searchable, Source
from vecferry.transforms import is_changed
from vecferry.verification.model import Comparison, Latency, VerifyOptions
from vecferry.verification.run import Pair
from vecferry.verification.sample import Sample, dense_vectors
from vecferry.verification.tries import Tries

_WARM_UP = 10
_POOL = 10
"""Records looked at per query that is drawn: enough to be random, without reading the whole collection."""
_LONGEST_SECONDS = 10.0

Ask = Callable[[NDArray[np.float32]], object]


def compare(
    source_db: Database,
    target_db: Database,
    pairs: Sequence[Pair],
    *,
    workers: int = 4,
    options: VerifyOptions | None = None,
    observer: Observer = silent,
    stop: Stop | None = None,
) -> tuple[Comparison, ...]:
    """Measure how fast each side answers: `options.queries` searches for `options.k` neighbours.

    p50 and p95 are of one query at a time; queries per second of `workers` threads that ask at once. Both sides get
    the same queries, drawn from the source, after a few that are not counted. Timings are of this machine's client,
    network included. A side that cannot be searched is None, with a note that says what would let it be.

    Raises:
        NotFound: the source has no such collection.
        Interrupted: `stop` was requested.
    """
    options, stop = options or VerifyOptions(), stop or Stop()
    found = []
    for pair in pairs:
        tries = Tries(pair[0], stop=stop, deadline_seconds=options.deadline_seconds, observer=observer)
        found.append(_compare(source_db, target_db, pair, workers, options, tries))
    return tuple(found)


def _compare(
    source_db: Database, target_db: Database, pair: Pair, workers: int, options: VerifyOptions, tries: Tries
) -> Comparison:
    with closing(source_db.source(pair[0])) as source:
        vector, queries = _queries(source, options, tries)
        if not len(queries):
            return Comparison(collection=pair[0], source=None, target=None, note="There is no dense vector to ask for.")
        left, why_left = _side(source_db, source, vector, queries, workers, options.k, tries)
    try:
        target = target_db.source(pair[1])
    except NotFound as error:
        return Comparison(
            collection=pair[0], source=left, target=None, note=" ".join(filter(None, (why_left, str(error))))
        )
    with closing(target):
        right, why_right = _side(target_db, target, vector, queries, workers, options.k, tries)
    return Comparison(collection=pair[0], source=left, target=right, note=" ".join(filter(None, (why_left, why_right))))


def _queries(source: Source, options: VerifyOptions, tries: Tries) -> tuple[str, NDArray[np.float32]]:
    """A vector's name, and queries for it."""
    vector = next(iter(dense_vectors(source.describe())), None)
    if vector is None:
        return "", np.empty((0, 0), np.float32)
    sample, seen = Sample(options.queries, seed=options.seed), 0
    for chunk in tries.chunks(source):
        sample.add(chunk.batch)
        seen += chunk.batch.num_rows
        if seen >= options.queries * _POOL:
            break
    return vector.name, sample.queries(vector, options.queries)


def _side(
    database: Database,
    source: Source,
    vector: str,
    queries: NDArray[np.float32],
    workers: int,
    k: int,
    tries: Tries,
) -> tuple[Latency | None, str]:
    """One side measured, or None and why not."""
    store = database.identity.kind
    if is_changed(source):
        return None, f"{store} was not measured: its records are changed on the way, and its index has the old ones."
    if not isinstance(source, Searchable):
        return None, _why(store, "It answers no searches through this connector.")
    try:
        return _measure(
            store, lambda query: source.search(query[None], k=k, vector=vector), queries, workers, tries
        ), ""
    except (Unsupported, ConfigError) as error:
        return None, _why(store, " ".join(filter(None, (error.message, error.hint))))


def _why(store: str, reason: str) -> str:
    enable = ' To measure a Chroma directory, install "vecferry[chroma-local]".' if store == "chroma" else ""
    return f"{store} was not measured: {reason}{'' if 'chroma-local' in reason else enable}"


def _measure(store: str, ask: Ask, queries: NDArray[np.float32], workers: int, tries: Tries) -> Latency:
    for query in queries[:_WARM_UP]:
        ask(query)
    took = []
    for query in queries:
        tries.go_on()
        begun = time.perf_counter()
        ask(query)
        took.append((time.perf_counter() - begun) * 1000)
    return Latency(
        store=store,
        p50_ms=float(np.percentile(took, 50)),
        p95_ms=float(np.percentile(took, 95)),
        queries_per_second=_throughput(ask, queries, workers),
        queries=len(queries),
        workers=workers,
    )


def _throughput(ask: Ask, queries: NDArray[np.float32], workers: int) -> float:
    """Queries per second while `workers` ask at once: every query each, from another place on, or until time is up."""
    deadline = time.perf_counter() + _LONGEST_SECONDS

    def work(number: int) -> int:
        begin = number * len(queries) // workers
        for done, query in enumerate(np.roll(queries, -begin, axis=0)):
            if time.perf_counter() > deadline:
                return done
            ask(query)
        return len(queries)

    begun = time.perf_counter()
    with ThreadPoolExecutor(workers, thread_name_prefix="compare") as pool:
        answered = sum(pool.map(work, range(workers)))
    return answered / (time.perf_counter() - begun)
