"""Whatever the chunking, the failures and the stops: run until it is done, and the end is the same."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.engine.support import Faulty, contents, memory, migrate, plan_for
from vecferry.engine import Options, Stop, retry
from vecferry.errors import AuthFailed, ConnectorError, DataError, Interrupted, StoreFull, Unavailable

ENDS = {"auth": AuthFailed("revoked"), "full": StoreFull("disk full", store="x")}
"""Errors that end a run, which may be gone the next time."""

faults = st.dictionaries(
    st.integers(1, 60),
    st.sampled_from(["reset", "lost", "auth", "full", "stop", "large", "data"]),
    max_size=6,
)
shapes = st.fixed_dictionaries(
    {
        "count": st.integers(1, 120),
        "partition_rows": st.integers(1, 60),
        "chunk_rows": st.integers(1, 40),
        "batch_rows": st.integers(1, 30),
        "jobs": st.integers(1, 4),
        "readers": st.integers(1, 3),
        "memory_bytes": st.sampled_from([1, 1000, 10**6]),
        "commit_seconds": st.sampled_from([0.0, 0.5]),
    }
)

OF_THE_SOURCE = ("partition_rows", "chunk_rows")


class Trouble:
    """Fails the nth write of all runs as it was drawn, each once."""

    def __init__(self, inner, drawn):
        self.inner, self.drawn, self.stop = inner, dict(drawn), Stop()

    def __call__(self, number, batch):
        what = self.drawn.pop(number, None)
        if what == "reset":
            raise Unavailable("reset before it was written")
        if what == "lost":
            sink = self.inner.sink(self.inner.source("docs").describe())
            sink.prepare(self.inner.source("docs").describe())
            sink.write(batch)
            raise Unavailable("written, but the answer was lost")
        if what in ENDS:
            raise ENDS[what]
        if what == "large" and batch.num_rows > 1:
            raise ConnectorError("too large", too_large=True)
        if what == "data" and batch.num_rows > 1:
            raise DataError("something in here")
        if what == "stop":
            self.stop.request()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(shape=shapes, drawn=faults)
def test_the_end_is_always_the_same(shape, drawn):
    """Every record arrives, under its own id, with its own text; the counts of the ledger agree."""
    source = memory(shape["count"], **{name: shape[name] for name in OF_THE_SOURCE})
    inner = memory()
    options = Options(
        **{name: shape[name] for name in ("batch_rows", "jobs", "readers", "memory_bytes", "commit_seconds")}
    )
    trouble = Trouble(inner, drawn)
    target = Faulty(inner, trouble)
    plan = plan_for(source, target)
    with tempfile.TemporaryDirectory() as folder, patch.object(retry, "FIRST_SECONDS", 0.001):
        for _ in range(len(drawn) + 1):
            trouble.stop = Stop()
            try:
                result = migrate(Path(folder), plan, source, target, options=options, stop=trouble.stop)
            except (Interrupted, AuthFailed, StoreFull):
                continue
            break
        else:
            raise AssertionError("it never ended, though each fault happens once")
    assert contents(inner) == contents(source)
    assert result.records == shape["count"]
    assert result.rejected == result.skipped == 0
