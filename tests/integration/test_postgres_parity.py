"""Searches of pgvector held against the truth, where it has none: vectors whose squares are none in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import vecferry
from vecferry.migration import verify
from vecferry.migration.settings import Settings
from vecferry.testing.postgres import PostgresDatabase
from vecferry.verification import Check, Level, State

DIM, ROWS = 4, 36


def filled(postgres: PostgresDatabase, scales: list[float]) -> None:
    """A table of vectors whose lengths are about these, in turn."""
    random = np.random.default_rng(5)
    postgres.execute(f"CREATE TABLE items (id int PRIMARY KEY, e vector({DIM}))")
    for number in range(ROWS):
        vector = random.standard_normal(DIM) * scales[number % len(scales)]
        text = f"[{','.join(f'{value:.8g}' for value in vector)}]"
        postgres.execute("INSERT INTO items VALUES (%s, %s)", [number, text])


def searched(here: str, there: str, ledger: Path) -> Check:
    (collection,) = verify(here, there, ledger=str(ledger)).verification.collections
    return next(check for check in collection.checks if check.level is Level.SEARCH)


@pytest.mark.parametrize(
    "scales, left, state",
    [
        ([1.0], 0, State.OK),
        ([1.0, 1e20, 1e-30, 1e-22, 1e-17, 1e17, 0.0], 20, State.OK),
        ([1e-30, 3e19], ROWS, State.NOT_CHECKED),
    ],
)
def test_vectors_without_a_cosine_are_left_out_of_the_comparison_of_searches_alone(
    postgres: PostgresDatabase, postgres_server, tmp_path: Path, scales: list[float], left: int, state: State
) -> None:
    """pgvector answers NaN, or the distance 0, for such vectors; nothing is lost, and all others are compared."""
    filled(postgres, scales)
    with postgres_server.fresh_database() as other:
        away, ledger = f"files:{tmp_path / 'away'}", tmp_path / "ledger.db"
        for here, there in ((postgres.url, away), (away, other.url)):
            done = vecferry.migrate(here, there, settings=Settings(ledger=str(ledger), reports=None))
            assert done.differences == 0, done.verification
        check = searched(away, other.url, ledger)
        assert (check.state, check.skipped.get("records without a cosine", 0)) == (state, left)
        assert ("no cosine" in check.note) is (left > 0)
        other.execute("UPDATE items SET e = '[3,-1,2,5]' WHERE id % 7 = 0")
        other.execute("UPDATE items SET e = '[-3,1,-2,5]' WHERE id % 7 = 4")
        spoiled = searched(away, other.url, ledger)
        assert spoiled.state is (State.NOT_CHECKED if state is State.NOT_CHECKED else State.DIFFERENT)
