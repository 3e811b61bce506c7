"""Chroma answers filters as the reference evaluator does, or is not asked; and so a migration to it ends well."""

from __future__ import annotations

import random
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.filter_oracle import answered
from vecferry import migration
from vecferry.arrow import from_records
from vecferry.connectors.chroma.search import SearchableChromaSource
from vecferry.connectors.chroma.where import where as to_where
from vecferry.errors import Unsupported
from vecferry.filters import And, Compare, Contains, Exists, Filter, Not, OneOf, Op, Or
from vecferry.migration import Settings
from vecferry.model import Card, CollectionSpec, IdKind, Record, VectorSpec
from vecferry.protocols import Database
from vecferry.registry import open_database
from vecferry.testing.skips import reason
from vecferry.verification.model import Level, State, VerifyOptions

if find_spec("chromadb") is None:
    pytest.skip(reason("chromadb"), allow_module_level=True)

KEYS = ("a", "b", "c d", "é")
VALUES: tuple[Any, ...] = (
    0, 1, 1.0, 2, 2.5, -3, True, False, "1", "x", "ü\n", "", 2**53 + 1, 2**62, 1e300, -0.5,
    [1, 2], [1.0, 2.5], ["1", "x"], [True], [0.5],
)  # fmt: skip
SCALARS = tuple(value for value in VALUES if not isinstance(value, list))
NUMBERS = tuple(value for value in SCALARS if isinstance(value, int | float) and not isinstance(value, bool))
SPEC = CollectionSpec(name="docs", id_kind=IdKind.TEXT, vectors=(VectorSpec(dim=2),), card=Card())


def random_filter(chance: random.Random, depth: int = 2) -> Filter:
    if depth and chance.random() < 0.5:
        parts = tuple(random_filter(chance, depth - 1) for _ in range(chance.randint(1, 3)))
        return chance.choice((And(parts), Or(parts), Not(parts[0])))
    key = chance.choice(KEYS)
    return chance.choice(
        (
            Compare(key, Op.EQ, chance.choice(SCALARS)),
            Compare(key, chance.choice((Op.GT, Op.GTE, Op.LT, Op.LTE)), chance.choice(NUMBERS)),
            OneOf(key, tuple(chance.sample(SCALARS, 3))),
            Contains(key, chance.choice(SCALARS)),
        )
    )


def written(url: str, *values: dict[str, Any] | None) -> Database:
    database = open_database(url)
    vector = np.array([1.0, 2.0], np.float32)
    records = [Record(id=f"r{n}", vectors={"": vector}, metadata=value) for n, value in enumerate(values)]
    sink = database.sink(SPEC)
    sink.prepare(SPEC)
    sink.write(from_records(SPEC, records))
    sink.finish()
    sink.close()
    return database


def source_of(database: Database) -> SearchableChromaSource:
    source = database.source("docs")
    assert isinstance(source, SearchableChromaSource)
    return source


def test_filters_are_exact_or_refused(tmp_path: Path) -> None:
    """Random filters over values of every type, lists too, against the reference evaluator."""
    chance = random.Random(7)
    rows = [{key: chance.choice(VALUES) for key in KEYS if chance.random() < 0.6} for _ in range(300)]
    database = written(f"chroma:{tmp_path}", *rows, None)
    source = source_of(database)
    assert answered(source, (random_filter(chance) for _ in range(300)), (*rows, None)) >= 150
    source.close()
    database.close()


def test_what_chroma_cannot_be_asked_is_refused(tmp_path: Path) -> None:
    """Existence, keys of its own, and keys that some record holds where no filter sees them."""
    database = written(f"chroma:{tmp_path}", {"a": 1, "deep": {"x": 1}, "#own": 1}, {"a": 2, "deep": "flat"})
    source = source_of(database)
    for node in (Exists("a"), Compare("#own", Op.EQ, 1), Compare("deep", Op.EQ, "flat"), Not(Exists("a")), And(())):
        with pytest.raises(Unsupported) as caught:
            source.count_where(node)
        assert caught.value.hint
    for value in (2**63, float("inf")):
        with pytest.raises(Unsupported):
            to_where(Compare("a", Op.GTE, value))
    assert source.count_where(Compare("a", Op.EQ, 1)) == 1
    assert source.count_where(Not(Compare("a", Op.GT, 1))) == 1
    source.close()
    database.close()


def test_numbers_that_chroma_would_round(tmp_path: Path) -> None:
    """It finds the integer 2 where 2.5 is asked for: not asked where there are integers, exact where there are none."""
    database = written(f"chroma:{tmp_path}", {"mixed": 2, "real": 2.5}, {"mixed": 2.5, "real": 3.5}, {"real": 2.0})
    source = source_of(database)
    for node in (Compare("mixed", Op.EQ, 2.5), Compare("mixed", Op.GTE, 2.5), OneOf("mixed", (1.0, 2.5))):
        with pytest.raises(Unsupported, match="rounds numbers"):
            source.count_where(node)
    assert source.count_where(Compare("mixed", Op.GTE, 2.0)) == 2
    assert source.count_where(Compare("real", Op.EQ, 2.5)) == 1
    assert source.count_where(Compare("real", Op.GTE, 2.5)) == 2
    source.close()
    database.close()


def test_more_matches_than_one_answer_brings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted page by page, also where the last page is full."""
    monkeypatch.setattr("vecferry.connectors.chroma.search._PAGE", 5)
    database = written(f"chroma:{tmp_path}", *({"a": n % 3} for n in range(30)))
    source = source_of(database)
    counts = Counter(n % 3 for n in range(30))
    assert {n: source.count_where(Compare("a", Op.EQ, n)) for n in range(3)} == counts
    source.close()
    database.close()


def test_a_migration_to_chroma_checks_filters_and_finds_what_is_wrong(tmp_path: Path) -> None:
    """Checked on Chroma's own engine; a record that its filters see otherwise is a difference."""
    from_, into = f"chroma:{tmp_path / 'a'}", f"chroma:{tmp_path / 'b'}"
    written(from_, *({"page": n, "lang": "de" if n % 3 else "en"} for n in range(30))).close()
    settings = Settings(ledger=str(tmp_path / "ledger.db"), reports=None, verify=VerifyOptions(queries=3))
    done = migration.migrate(from_, into, settings=settings)
    assert done.verification is not None
    assert done.verification.ok
    check = done.verification.collections[0].check(Level.FILTERS)
    assert check is not None
    assert (check.state, check.differences) == (State.OK, 0)
    assert 0 < check.compared < check.scanned, "existence is what Chroma cannot be asked for"
    assert any("whether a key is there" in why for why in check.skipped)

    import chromadb

    client = chromadb.PersistentClient(str(tmp_path / "b"))
    client.get_collection("docs", embedding_function=None).update(ids=["r3"], metadatas=[{"lang": "fr"}])
    client.close()
    found = migration.verify(from_, into, options=VerifyOptions(queries=3)).verification
    wrong = found.collections[0].check(Level.FILTERS)
    assert wrong is not None
    assert wrong.state is State.DIFFERENT
