"""Both sides get the same questions; a side that cannot be asked is said to be, never shown as a zero."""

from __future__ import annotations

import numpy as np

from vecferry.verification import VerifyOptions, compare

PAIRS = [("docs", "docs")]


def test_both_sides_are_measured(stage):
    (found,) = compare(stage.source, stage.target, PAIRS, workers=2, options=VerifyOptions(queries=20))
    for side in (found.source, found.target):
        assert 0 < side.p50_ms <= side.p95_ms
        assert side.queries_per_second > 0
        assert (side.queries, side.workers) == (20, 2)
    assert found.note == ""


def test_both_sides_get_the_same_queries(stage, monkeypatch):
    asked = {"source": [], "target": []}
    for name, database in (("source", stage.source), ("target", stage.target)):
        source = database.source("docs")
        search = source.search

        def listen(queries, *, log=asked[name], search=search, **rest):
            log.append(queries.tobytes())
            return search(queries, **rest)

        monkeypatch.setattr(source, "search", listen)
        monkeypatch.setattr(database, "source", lambda _name, source=source: source)
    compare(stage.source, stage.target, PAIRS, workers=1, options=VerifyOptions(queries=15))
    assert asked["source"] == asked["target"]
    assert len(np.unique(asked["source"])) == 15


def test_a_side_without_search_is_none_and_says_why(stage, monkeypatch):
    source = stage.source.source("docs")
    names = ("describe", "partitions", "read", "close")
    poorer = type("Poorer", (), {name: getattr(source, name) for name in names})
    monkeypatch.setattr(stage.source, "source", lambda _name: poorer)
    (found,) = compare(stage.source, stage.target, PAIRS, options=VerifyOptions(queries=5))
    assert found.source is None
    assert found.target is not None
    assert "memory was not measured" in found.note
