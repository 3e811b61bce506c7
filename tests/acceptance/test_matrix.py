"""300 hostile records from every form of store to every other and back: bit for bit, or as the plans said.

One test per row; what it finds is that row of docs/reference/matrix.md, which `VECFERRY_TEST_WRITE_MATRIX=1` writes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.acceptance.matrix import NAME, Leg, Outcome, compare, hostile_records, move, records_in, seed
from vecferry.testing.cloud_double import start_cloud_double
from vecferry.testing.mariadb import MariaDBDatabase
from vecferry.testing.postgres import PostgresDatabase
from vecferry.testing.servers import ChromaServer, QdrantServer

pytestmark = [pytest.mark.qdrant, pytest.mark.slow, pytest.mark.timeout(600)]

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "matrix.md"
FORMS = (
    "memory",
    "files",
    "jsonl",
    "Chroma directory",
    "Chroma server",
    "Chroma Cloud (double)",
    "Qdrant server",
    "Qdrant embedded",
    "PostgreSQL",
    "MariaDB",
)
Stores = Callable[[str], str]
"""form -> the URL of a store of that form, for one collection of its own"""


@pytest.fixture
def stores(
    tmp_path: Path,
    qdrant_server: QdrantServer,
    chroma_server: ChromaServer,
    postgres: PostgresDatabase,
    mariadb: MariaDBDatabase,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Stores]:
    with start_cloud_double(chroma_server) as cloud:
        monkeypatch.setenv("CHROMA_API_KEY", cloud.token)
        made: dict[str, Callable[[], str]] = {
            "memory": lambda: f"memory:{uuid4()}",
            "files": lambda: f"files:{tmp_path / uuid4().hex}",
            "jsonl": lambda: f"jsonl:{tmp_path / uuid4().hex}.jsonl.gz",
            "Chroma directory": lambda: f"chroma:{tmp_path / uuid4().hex}",
            "Chroma server": lambda: chroma_server.url,
            "Chroma Cloud (double)": lambda: cloud.url,
            "Qdrant server": lambda: qdrant_server.url,
            "Qdrant embedded": lambda: f"qdrant:{tmp_path / uuid4().hex}",
            "PostgreSQL": lambda: postgres.url,
            "MariaDB": lambda: mariadb.url,
        }
        yield lambda form: made[form]()


@pytest.mark.parametrize("home", FORMS)
def test_there_and_back(home: str, stores: Stores, tmp_path: Path) -> None:
    """From `home` to every other form and back: what comes home is what was there, but for what the plans named."""
    seeded = f"memory:{uuid4()}"
    seed(seeded, hostile_records())
    start, name = stores(home), f"{NAME}-{uuid4().hex[:8]}"
    move(seeded, start, NAME, to=name, room=tmp_path)
    before = records_in(start, name)
    assert len(before) > 250
    row = {home: "·"}
    for away in FORMS:
        if away != home:
            there, back = stores(away), stores(home)
            out, again = f"{name}-out", f"{name}-{uuid4().hex[:8]}"
            legs = (
                move(start, there, name, to=f"{out}-{FORMS.index(away)}", room=tmp_path),
                move(there, back, f"{out}-{FORMS.index(away)}", to=again, room=tmp_path),
            )
            row[away] = said(legs, compare(before, records_in(back, again)), f"{home} to {away} and back")
    in_the_page(home, [row[form] for form in FORMS])


def said(legs: tuple[Leg, Leg], outcome: Outcome, journey: str) -> str:
    """The journey in a few words.

    Fails where something was lost that neither plan had named, or a plan named a loss that did not happen.
    """
    named = {shape: count for leg in legs for shape, count in leg.lost.items()}
    left_out = sum(leg.left_out for leg in legs)
    assert not outcome.changed, f"{journey}: {dict(outcome.changed)}, {outcome.examples[:5]}, named {named}"
    assert not outcome.out_of_order, journey
    assert bool(outcome.missing) == bool(left_out), f"{journey}: {outcome.missing[:5]} missing, named {named}"
    assert len(outcome.missing) <= left_out, f"{journey}: {outcome.missing[:5]} missing, named {named}"
    assert outcome.steps <= sum(leg.rounds_vectors for leg in legs), f"{journey}: {outcome.steps} steps"
    words = [f"{len(outcome.missing)} left out ({', '.join(sorted(named))})"] if outcome.missing else []
    words += [f"vectors ±{outcome.steps} ulp"] if outcome.steps else []
    return "; ".join(words) or "exact"


def in_the_page(home: str, row: list[Any]) -> None:
    """The row stands in the page; or is written there, where that was asked for."""
    line = "| " + " | ".join([f"**{home}**", *row]) + " |"
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    (place,) = [number for number, text in enumerate(lines) if text.startswith(f"| **{home}** |")]
    if os.environ.get("VECFERRY_TEST_WRITE_MATRIX"):
        lines[place] = line
        PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert lines[place] == line, "with VECFERRY_TEST_WRITE_MATRIX=1 this test writes the page"
