"""A person at a terminal, asked about a collection that is in the target already: each answer, and what it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import Vecferry
from tests.e2e.stores import docs, occupied, points
from tests.integration.chroma_process import ChromaProcess, pack

pytestmark = pytest.mark.qdrant
FEW = ("--queries", "3")


def backups(vecferry: Vecferry) -> list[Path]:
    """The archives of targets that were made before anything was deleted."""
    return list((vecferry.folder / "vecferry-reports" / "backup").glob("*/target"))


def test_somebody_elses_collection(small: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry) -> None:
    """What is there is shown; stop leaves it; recreate takes a backup of it first, unless that is declined in words."""
    occupied(qdrant, name)
    move = ("migrate", f"chroma:{small}", qdrant_server.url, "-c", f"docs={name}", *FEW)
    stopped = vecferry.talk(*move, answers="stop\n", expect=3)
    for word in ("somebody else", "8 cosine float32", "append, recreate, sync, stop"):
        assert word in stopped.text, stopped
    assert len(points(qdrant, name)) == 3

    vecferry.talk(*move, answers="recreate\n\nn\n", expect=3)
    assert (len(points(qdrant, name)), backups(vecferry)) == (3, []), "the last question was answered with no"

    done = vecferry.talk(*move, answers="recreate\n\ny\n")
    assert f"delete what '{name}' holds now" in done.text
    assert len(points(qdrant, name)) == 40
    (archive,) = backups(vecferry)
    kept = vecferry("inspect", f"files:{archive}", "--json").json
    assert [(p["spec"]["name"], p["records"]) for p in kept["profiles"]] == [(name, 3)]

    qdrant.delete_collection(name)
    occupied(qdrant, name)
    vecferry.talk(*move, answers="recreate\nwithout backup\ny\n")
    assert len(points(qdrant, name)) == 40
    assert backups(vecferry) == [archive]


def test_a_collection_that_nothing_fits_into(
    small: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry
) -> None:
    """A person hears why, and is offered what can be done; a script is refused with the same words."""
    occupied(qdrant, name, dim=12)
    move = ("migrate", f"chroma:{small}", qdrant_server.url, "-c", f"docs={name}", *FEW)
    for stopped in (vecferry.talk(*move, answers="stop\n", expect=3), vecferry(*move, "--yes", expect=3)):
        assert "12 dimensions under cosine; asked for was" in stopped.text
    assert "append, " not in vecferry.talk(*move, answers="stop\n", expect=3).text, "what cannot be is not offered"
    assert len(points(qdrant, name)) == 3


def test_synchronised_with_somebody_elses(
    small: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry
) -> None:
    """Theirs stays as it was, and is counted."""
    occupied(qdrant, name)
    before = points(qdrant, name)
    move = ("migrate", f"chroma:{small}", qdrant_server.url, "-c", f"docs={name}", *FEW)
    done = vecferry.talk(*move, answers="sync\ny\n")
    assert "Added or changed: 40 records. Left there, though only the target has them: 3" in done.text
    after = points(qdrant, name)
    assert len(after) == 43
    assert {ident: after[ident].payload for ident in before} == {i: p.payload for i, p in before.items()}


def test_a_collection_of_the_same_form(
    chroma_process: ChromaProcess, small: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry,
    tmp_path: Path,
) -> None:  # fmt: skip
    """Written by vecferry from another source: who and when is shown; append stops at ids that are there; sync adds."""
    other = tmp_path / "other_db"
    docs(chroma_process, other, 42)
    into = (qdrant_server.url, "-c", f"docs={name}")
    first = vecferry("migrate", f"chroma:{small}", *into, "--yes", *FEW, "--json").json
    move = ("migrate", f"chroma:{other}", *into, *FEW)
    refused = vecferry.talk(*move, answers="append\ny\n", expect=3)
    assert f"run {first['run']} of vecferry" in refused.text
    assert f"{first['run'][:4]}-{first['run'][4:6]}-{first['run'][6:8]}" in refused.text, "when"
    assert "doc-000" in refused.text
    assert len(points(qdrant, name)) == 40

    done = vecferry.talk(*move, answers="sync\ny\n")
    assert "Write 2 records" in done.text
    assert "Added or changed: 2 records." in done.text
    assert len(points(qdrant, name)) == 42


def test_what_was_moved_and_has_changed(
    chroma_process: ChromaProcess, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry, tmp_path: Path
) -> None:
    """The same command after the source grew offers to write what differs, counts it, and asks again before it does."""
    source = tmp_path / "chroma_db"
    docs(chroma_process, source, 5)
    move = ("migrate", f"chroma:{source}", qdrant_server.url, "-c", f"docs={name}", *FEW)
    vecferry(*move, "--yes")
    new = {"do": "add", "ids": ["new"], "embeddings": [pack([1.0] * 8)], "documents": ["new"]}
    chroma_process.apply(source, [new], name="docs")
    declined = vecferry.talk(*move, answers="n\n", expect=3)
    assert "vecferry sync" in declined.text
    assert len(points(qdrant, name)) == 5
    done = vecferry.talk(*move, answers="y\ny\n")
    assert "Write 1 record " in done.text
    assert len(points(qdrant, name)) == 6
