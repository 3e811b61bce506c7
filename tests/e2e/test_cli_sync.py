"""`vecferry sync` and `--if-exists sync`: only what differs is written, and counted beforehand."""

from __future__ import annotations

import json
import re
import shlex
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import Vecferry, copied, everything_in, wait_until
from tests.e2e.stores import docs, points
from tests.integration.chroma_process import ChromaProcess, pack

pytestmark = pytest.mark.qdrant
FEW = ("--queries", "3")


def writes(server: Any) -> dict[str, float]:
    """The requests that change something, as the server itself counts them: endpoint -> how many."""
    with urllib.request.urlopen(f"{server.http_url}/metrics") as answer:
        text = answer.read().decode()
    found = re.findall(r"^(?:rest|grpc)_responses_total\{(.*?)\} (\S+)$", text, re.MULTILINE)
    changing = re.compile(r'method="(PUT|PATCH|DELETE)"|endpoint="[^"]*(Upsert|Delete|Update|Set|/points/delete)')
    return {labels: float(count) for labels, count in found if changing.search(labels)}


@pytest.fixture
def source(chroma_process: ChromaProcess, tmp_path: Path) -> Path:
    path = tmp_path / "chroma_db"
    docs(chroma_process, path, 40)
    return path


def changed(chroma: ChromaProcess, path: Path) -> None:
    """Two more, one otherwise, one gone."""
    operations = [
        {"do": "add", "ids": ["n1", "n2"], "embeddings": [pack([1.0] * 8)] * 2, "documents": ["one", "two"]},
        {"do": "update", "ids": ["doc-00007"], "metadatas": [{"page": 777}]},
        {"do": "delete", "ids": ["doc-00003"]},
    ]
    chroma.apply(path, operations, name="docs")


def test_a_source_that_has_changed(
    chroma_process: ChromaProcess, source: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry
) -> None:
    """Counted, asked for, written, verified; deleted only when told; and then there is nothing to do, nor written."""
    stores = (f"chroma:{source}", qdrant_server.url)
    vecferry("migrate", *stores, "-c", f"docs={name}", "--layout", "flat", "--yes", *FEW)
    changed(chroma_process, source)
    counted = {"source": "docs", "target": name, "added": 2, "changed": 1, "extra": 1}

    before = points(qdrant, name)
    dry = vecferry("sync", *stores, "-c", f"docs={name}", "--dry-run", "--json")
    assert dry.json["synced"] == [{**counted, "written": 0, "deleted": 0}]
    assert re.search(r"run \S+ of vecferry", dry.text)
    assert "does not know" not in dry.text, "a dry run asks no ledger, so it says nothing of one"
    asked = vecferry("sync", *stores, expect=3)
    assert "--yes" in asked.err
    assert points(qdrant, name) == before

    first = vecferry("sync", *stores, "--yes", *FEW, "--json").json
    assert first["synced"] == [{**counted, "written": 3, "deleted": 0}], "found by its card, under its other name"
    assert (first["differences"], first["records"], first["kept"]) == (0, 41, 38), "what stays there is no difference"
    after = points(qdrant, name)
    assert after.keys() == before.keys() | {"n1", "n2"}
    assert after["doc-00007"].payload["page"] == 777, "and in the layout that stands there"

    told = vecferry("sync", *stores, "--delete", "--yes", *FEW)
    assert "only the target had them: 1." in told.text
    assert points(qdrant, name).keys() == after.keys() - {"doc-00003"}

    counters = writes(qdrant_server)
    assert counters, "the server counts"
    again = vecferry("sync", *stores, *FEW)
    assert "Nothing to do: 41 records, all identical." in again.text
    assert writes(qdrant_server) == counters
    runs = vecferry("status", "--json").json["runs"]
    assert [(run["state"], run["done"]) for run in runs[:3]] == [("done", 41), ("done", 41), ("done", 41)]


def test_a_directory_that_is_in_step_is_not_touched(
    small: Path, chroma_process: ChromaProcess, vecferry: Vecferry, tmp_path: Path
) -> None:
    """The same again into a Chroma directory: not a byte of it; and a target that is not there is made."""
    target = tmp_path / "copy_db"
    stores = (f"chroma:{small}", f"chroma:{target}")
    made = vecferry("sync", *stores, "--yes", *FEW, "--json").json
    assert (made["records"], made["synced"], made["ok"]) == (40, [], True)
    assert len(chroma_process.dump(target, name="docs")) == 40
    before = everything_in(target)
    again = vecferry("migrate", *stores, "--if-exists", "sync", *FEW)
    assert "Nothing to do: 40 records, all identical." in again.text
    assert everything_in(target) == before


def exported(path: Path, **collections: dict[str, str]) -> None:
    """A JSON file of collections, each of them id -> document."""
    lists = {
        name: [{"id": id_, "document": text, "embedding": [1.0, float(id_[1:])]} for id_, text in held.items()]
        for name, held in collections.items()
    }
    path.write_text(json.dumps(lists))


def test_records_that_move_in_the_source_are_told_and_are_no_difference(
    qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry, tmp_path: Path
) -> None:
    """A file's order is what it is now: after deletes, what is written anew has a place that another record has."""
    file, held = tmp_path / "backup.json", {f"r{n}": f"text {n}" for n in range(12)}
    stores = (f"json:{file}", qdrant_server.url, "-c", f"docs={name}")
    exported(file, docs=held)
    vecferry("migrate", *stores, "--yes", *FEW)
    for gone in ("r0", "r1", "r2"):
        del held[gone]
    held |= {"r9": "changed", "r11": "changed"}
    exported(file, docs=held)
    first = vecferry("sync", *stores, "--delete", "--yes", *FEW)
    again = vecferry("sync", *stores, "--delete", "--yes", *FEW)
    for done in (first, again):
        assert "2 records come back in another order" in done.text
    assert "Nothing to do: 9 records, all identical." in again.text
    assert "comes before a record that it follows in the source" in vecferry("verify", *stores, *FEW, expect=1).text
    assert vecferry("sync", *stores, "--delete", "--json", *FEW).json["ok"] is False, "told, and never as ok"
    told = vecferry("migrate", *stores, *FEW, expect=1)
    assert "write what is missing" not in told.text, "nothing is, and a synchronisation would move nothing"
    (command,) = re.findall("^ *vecferry (.*)$", told.out, re.MULTILINE)
    vecferry(*shlex.split(command), "--yes", *FEW)
    assert vecferry("verify", *stores, *FEW).code == 0
    assert len(points(qdrant, name)) == 9


def test_merged_collections_share_places_and_can_be_verified_and_backed_up(
    qdrant_server: Any, name: str, vecferry: Vecferry, tmp_path: Path
) -> None:
    """Each part of a merge begins at 0."""
    file = tmp_path / "two.json"
    exported(file, n1={f"a{n}": "one" for n in range(9)}, n2={f"b{n}": "two" for n in range(7)})
    parts = ("-c", f"n1={name}", "-c", f"n2={name}")
    vecferry("migrate", f"json:{file}", qdrant_server.url, *parts, "--yes", *FEW)
    vecferry("backup", qdrant_server.url, f"files:{tmp_path / 'backups'}", "-c", name)


def test_killed_in_the_middle(larger: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry) -> None:
    """Most of the target is gone; the sync is killed while it writes; the same command ends it, without a question."""
    stores = (f"chroma:{larger}", qdrant_server.url, "-c", f"docs={name}")
    vecferry("migrate", *stores, "--yes", "--no-verify")
    lost = [point.id for ident, point in points(qdrant, name).items() if ident > "doc-00010"]
    qdrant.delete(name, lost, wait=True)
    log = vecferry.folder / "events.jsonl"
    command = ("sync", *stores, *FEW, "--log", "events.jsonl")
    process = vecferry.start(*command, "--yes")
    wait_until(lambda: copied(log) > 0, process)
    process.kill()
    vecferry.end(process, expect=-9)
    assert vecferry("status", "--json").json["runs"][0]["state"] == "interrupted"
    done = vecferry(*command, "--json").json
    assert (done["ok"], done["differences"]) == (True, 0)
    assert len(points(qdrant, name)) == 3000


def test_what_cannot_be_synchronised_is_refused(
    source: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry
) -> None:
    """Another layout is said to be another; `--delete` belongs to sync alone; of two answers one is too many."""
    move = ("migrate", f"chroma:{source}", qdrant_server.url, "-c", f"docs={name}", "--yes", "--no-verify")
    vecferry(*move)
    other = vecferry(*move, "--if-exists", "sync", "--layout", "flat", expect=3)
    assert "in the layout 'plain'; asked for was 'flat'" in other.text
    assert "--if-exists sync" in vecferry(*move, "--delete", expect=2).text
    assert "two answers" in vecferry(*move, "--backup", "b", "--no-backup", expect=2).text
