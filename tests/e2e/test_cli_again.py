"""The same command, run again after it was done: harmless, whatever happened to the source or the target meanwhile."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import Done, Vecferry
from tests.e2e.stores import docs, original, points
from tests.integration.chroma_process import ChromaProcess, pack

pytestmark = pytest.mark.qdrant
FEW = ("--queries", "3")


def advised(done: Done) -> list[str]:
    """The arguments of the command that the hint names."""
    (line,) = [line for line in done.err.splitlines() if "up to date: vecferry" in line]
    return shlex.split(line.partition("up to date: vecferry")[2])


@pytest.fixture
def source(chroma_process: ChromaProcess, tmp_path: Path) -> Path:
    path = tmp_path / "chroma_db"
    docs(chroma_process, path, 40)
    return path


def grown(chroma: ChromaProcess, path: Path, *ids: str) -> None:
    operation = {"do": "add", "ids": list(ids), "embeddings": [pack([1.0] * 8)] * len(ids), "documents": list(ids)}
    chroma.apply(path, [operation], name="docs")


def test_nothing_changed(source: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry) -> None:
    """Exit 0 without a question: nothing is written, everything is verified again, and both runs are remembered."""
    move = ("migrate", f"chroma:{source}", qdrant_server.url, "-c", f"docs={name}", *FEW)
    first = vecferry(*move, "--yes", "--json").json
    before = points(qdrant, name)
    said = vecferry(*move)
    assert "Nothing to do: 40 records, all identical." in said.text
    assert f"Run {first['run']} had moved them" in said.text
    again = vecferry(*move, "--json").json
    assert (again["records"], again["kept"], again["ok"], again["differences"]) == (40, 40, True, 0)
    assert first["kept"] == 0
    assert points(qdrant, name) == before
    runs = vecferry("status", "--json").json["runs"]
    assert [(run["state"], run["done"]) for run in runs] == [("done", 40)] * 3
    assert Path(vecferry.folder, again["report"]).exists()


def test_the_source_grew(
    chroma_process: ChromaProcess, source: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry
) -> None:
    """Refused before anything is written, with both figures and one command; after it, running again is clean."""
    move = ("migrate", f"chroma:{source}", qdrant_server.url, "-c", f"docs={name}", "--yes", *FEW)
    vecferry(*move)
    grown(chroma_process, source, "new-1", "new-2")
    refused = vecferry(*move, expect=3)
    assert "holds 42 records now, the target 40" in refused.text
    assert len(points(qdrant, name)) == 40
    vecferry(*advised(refused), "--yes")
    assert len(points(qdrant, name)) == 42
    assert "Nothing to do" in vecferry(*move).text


def test_a_record_changed_in_place(
    chroma_process: ChromaProcess, source: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry
) -> None:
    """The figures agree, so verification says it: exit 1, the record by its id, and the command that mends it."""
    move = ("migrate", f"chroma:{source}", qdrant_server.url, "-c", f"docs={name}", "--yes", *FEW)
    vecferry(*move)
    changed = {"do": "update", "ids": ["doc-00007"], "metadatas": [{"page": 777}]}
    chroma_process.apply(source, [changed], name="docs")
    told = vecferry(*move, expect=1)
    assert "all identical" not in told.text
    assert "doc-00007" in told.out
    assert f"vecferry sync chroma:{source}" in told.out
    assert points(qdrant, name)["doc-00007"].payload["metadata"]["page"] == 7, "nothing was written"


def test_a_new_collection_beside_it(
    chroma_process: ChromaProcess, source: Path, start_qdrant: Any, clients: Any, vecferry: Vecferry
) -> None:
    """Only the new one is written; both are verified. Where one changed too, it is named alone."""
    server = start_qdrant()
    move = ("migrate", f"chroma:{source}", server.url, "--yes", *FEW, "--json")
    vecferry(*move)
    docs(chroma_process, source, 5, name="faq")
    grown(chroma_process, source, "new-1")
    refused = vecferry(*move, expect=3)
    assert advised(refused)[-2:] == ["-c", "docs=docs"]
    assert not clients(server).collection_exists("faq")
    vecferry(*advised(refused), "--yes")
    said = vecferry(*move).json
    assert (said["records"], said["kept"], said["ok"]) == (46, 41, True)
    assert len(points(clients(server), "faq")) == 5
    assert vecferry(*move).json["kept"] == 46


def test_the_target_lost_something(
    source: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry
) -> None:
    """Some records gone: refused, with the command. Emptied or dropped: moved anew."""
    move = ("migrate", f"chroma:{source}", qdrant_server.url, "-c", f"docs={name}", "--yes", *FEW, "--json")
    vecferry(*move)
    gone = [point.id for ident, point in points(qdrant, name).items() if ident < "doc-00003"]
    qdrant.delete(name, gone, wait=True)
    refused = vecferry(*move, expect=3)
    assert "the target 37" in refused.text
    vecferry(*advised(refused), "--yes")
    assert vecferry(*move).json["kept"] == 40
    qdrant.delete_collection(name)
    anew = vecferry(*move).json
    assert (anew["records"], anew["kept"], anew["ok"]) == (40, 0, True)


def test_other_options_and_other_writers(
    source: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry
) -> None:
    """Another layout is another form: refused with what changed. So is a collection whose run this ledger never saw."""
    move = ("migrate", f"chroma:{source}", qdrant_server.url, "-c", f"docs={name}", "--yes", *FEW)
    vecferry(*move)
    other = vecferry(*move, "--layout", "flat", expect=3)
    assert "--layout: was auto, now flat" in other.text
    assert "--if-exists append, recreate or sync" in other.text
    vecferry.ledger.unlink()
    unknown = vecferry(*move, expect=3)
    assert "--if-exists sync" in unknown.text
    assert len(points(qdrant, name)) == 40


def test_told_to_write_again_it_does(
    source: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry
) -> None:
    """`recreate` and `append` are said in words, and obeyed."""
    move = ("migrate", f"chroma:{source}", qdrant_server.url, "-c", f"docs={name}", "--yes", *FEW, "--json")
    vecferry(*move)
    (changed,) = [point for point in points(qdrant, name).values() if original(point) == "doc-00007"]
    qdrant.set_payload(name, {"document": "changed by the app"}, points=[changed.id], wait=True)
    vecferry(*move, "--if-exists", "append", "--on-conflict", "replace")
    assert points(qdrant, name)["doc-00007"].payload["document"] == "document 7"
    anew = vecferry(*move, "--if-exists", "recreate").json
    assert (anew["records"], anew["kept"]) == (40, 0)
    assert vecferry(*move).json["kept"] == 40, "and the run that wrote it last is the one that counts"


def test_records_that_were_set_aside_stay_so(
    start_qdrant: Any, clients: Any, vecferry: Vecferry, tmp_path: Path
) -> None:
    """What the first run left out with consent is no difference of the second, and need not be consented to again."""
    from qdrant_client import models

    server = start_qdrant()
    clients(server).create_collection("some", models.VectorParams(size=2, distance=models.Distance.EUCLID))
    two = [models.PointStruct(id=1, vector=[1.0, 2.0]), models.PointStruct(id=2, vector={})]
    clients(server).upsert("some", two, wait=True)
    move = ("migrate", server.url, f"chroma:{tmp_path / 'db'}", "--yes", "--json")
    first = vecferry(*move, "--accept", "no-vector=quarantine").json
    again = vecferry(*move).json
    assert (first["records"], first["rejected"], first["differences"]) == (1, 1, 0)
    assert (again["kept"], again["ok"]) == (1, first["ok"])


def test_append_needs_no_answer_where_no_id_collides(
    chroma_process: ChromaProcess, source: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry
) -> None:
    """Other ids of the same kind, into what an earlier run of another source made: `--on-conflict` is not asked for."""
    other = source.parent / "other_db"
    docs(chroma_process, other, 3)
    operation = {"do": "add", "ids": ["x-1", "x-2"], "embeddings": [pack([1.0] * 8)] * 2, "documents": ["a", "b"]}
    chroma_process.apply(other, [operation], name="more", configuration={"hnsw": {"space": "cosine"}})
    vecferry("migrate", f"chroma:{source}", qdrant_server.url, "-c", f"docs={name}", "--yes", "--no-verify")
    more = ("migrate", f"chroma:{other}", qdrant_server.url, "-c", f"more={name}", "--if-exists", "append", "--yes")
    said = vecferry(*more, "--no-verify", "--json").json
    assert (said["records"], said["skipped"]) == (2, 0)
    assert len(points(qdrant, name)) == 42
