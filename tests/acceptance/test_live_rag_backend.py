"""The story to serve first: 14 Chroma collections with 14,365 documents, a Qdrant that is up but empty, one command.

As the operator lives it: a look that changes nothing, a backup, the move, a machine that dies in the middle of it, the
same command again, a proof, a report, and the way home. Every step is the installed command in a process of its own
against a real server; every record is then compared through Chroma's and Qdrant's own clients, not through ours.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.e2e.command import Vecferry, copied, everything_in, logged, wait_until
from tests.e2e.stores import equal, points
from tests.integration.chroma_process import ChromaProcess, pack, unpack

pytestmark = [pytest.mark.qdrant, pytest.mark.slow, pytest.mark.timeout(900)]

SIZES = {
    "handbook": 4120,
    "tickets": 2960,
    "release-notes": 1875,
    "contracts": 1500,
    "faq": 1210,
    "minutes": 840,
    "wiki-de": 612,
    "wiki-ja": 455,
    "mails": 310,
    "code-snippets": 208,
    "policies": 141,
    "onboarding": 87,
    "glossary": 40,
    "pinned.answers": 7,
}
RECORDS = 14_365
SPACES = ("cosine", "l2", "ip")
CHROMA_ROUNDS = 3
"""Under cosine, Chroma's get() returns length times direction: up to so many floats beside what it was given."""
SCHEMA = Path(__file__).parents[2] / "docs" / "reference" / "report.schema.json"


def space_of(name: str) -> str:
    return SPACES[list(SIZES).index(name) % 3]


def written_by_the_app(name: str) -> list[dict[str, Any]]:
    """What the app adds to one collection, in its order."""
    count, number = SIZES[name], list(SIZES).index(name)
    dim = (32, 48, 64)[number % 3]
    vectors = np.random.default_rng(number).normal(0, 3, (count, dim)).astype(np.float32)
    return [record(name, n, vectors[n]) for n in range(count)]


def record(name: str, n: int, vector: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "source": f"{name}/{n % 97:03}.md",
        "chunk": n % 31,
        "score": n / 3,
        "whole": float(n),  # a float that a careless JSON writer turns into an integer
        "reviewed": n % 3 == 0,
        "language": ("de", "en", "日本語", "العربية")[n % 4],
        "updated": 1_700_000_000 + n,
    }
    if n % 7 == 0:
        metadata["tags"] = ["draft", f"team-{n % 5}", "Müller & Söhne"]
    if n % 11 == 0:
        metadata["big"] = 2**53 + n
    return {
        "id": f"{name}-{n:05}" if n % 13 else f"{name}/Größe №{n} 🦀",
        "embedding": pack(vector),
        "document": None
        if n % 29 == 5
        else f"{name} {n}: Das ist ein Absatz — with “quotes”, emoji 🚢 and\nlines. " * 2,
        "uri": f"s3://archive/{name}/{n}.pdf" if n % 29 == 5 else None,
        "metadata": metadata if n % 50 != 3 else None,
    }


def the_app_writes(chroma: ChromaProcess, path: Path) -> None:
    for name in SIZES:
        operations = [_add(group) for group in _alike(written_by_the_app(name))]
        chroma.apply(path, operations, name=name, configuration={"hnsw": {"space": space_of(name)}})


def _alike(records: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """In order, cut where the next record has other fields: one call of Chroma's wants the same of all its records."""
    groups: list[list[dict[str, Any]]] = []
    for one in records:
        last = groups[-1][-1] if groups else None
        fits = last is not None and (last["document"] is None) == (one["document"] is None) and len(groups[-1]) < 1000
        groups[-1].append(one) if fits else groups.append([one])
    return groups


def _add(group: list[dict[str, Any]]) -> dict[str, Any]:
    operation = {
        "do": "add",
        "ids": [one["id"] for one in group],
        "embeddings": [one["embedding"] for one in group],
        "metadatas": [one["metadata"] for one in group],
    }
    for field in ("document", "uri"):
        if group[0][field] is not None:
            operation[f"{field}s"] = [one[field] for one in group]
    return operation


def test_the_story(
    vecferry: Vecferry, chroma_process: ChromaProcess, start_qdrant: Any, clients: Any, tmp_path: Path
) -> None:
    """From a look to the way home, with a kill in the middle: every record, counted and compared by the vendors."""
    chroma, server = tmp_path / "chroma_db", start_qdrant()
    the_app_writes(chroma_process, chroma)
    truth = {name: as_chroma_returns_it(chroma_process, chroma, name) for name in SIZES}
    assert sum(map(len, truth.values())) == RECORDS
    qdrant = clients(server)
    stores = (f"chroma:{chroma}", server.url)

    a_dry_run_shows_the_figures_and_writes_nothing(vecferry, chroma, stores, qdrant, tmp_path / "tmp")

    backup, log = tmp_path / "backup", vecferry.folder / "events.jsonl"
    command = ("migrate", *stores, "--yes", "--json", "--backup", backup, "--log", log)
    paced = (*command, "--batch-bytes", "65536", "--rate", "5000")
    killed_in_the_middle(vecferry, paced, log)
    before = len(logged(log))
    there = copied(log)
    assert 0 < there < RECORDS

    done = vecferry(*paced)
    the_second_process_went_on(done, logged(log)[before:], there)
    the_report_is_sound(vecferry, done.json)
    every_record_is_in_qdrant(truth, qdrant)
    the_backup_is_an_archive_of_the_source(vecferry, backup, chroma)

    the_way_home(vecferry, chroma_process, server.url, tmp_path / "chroma_back", truth)
    bit_for_bit_on_request(vecferry, stores, truth)


def as_chroma_returns_it(chroma: ChromaProcess, path: Path, name: str) -> list[dict[str, Any]]:
    """Chroma's own get(), and with each record the vector that the app had given."""
    given = {one["id"]: unpack(one["embedding"]) for one in written_by_the_app(name)}
    return [{**one, "given": given[one["id"]]} for one in chroma.dump(path, name=name)]


def a_dry_run_shows_the_figures_and_writes_nothing(
    vecferry: Vecferry, chroma: Path, stores: tuple[str, str], qdrant: Any, scratch: Path
) -> None:
    scratch.mkdir()
    before = everything_in(chroma)
    shown = vecferry("migrate", *stores, "--dry-run", env={"TMPDIR": str(scratch)})
    assert "14 collections, 14,365 records" in shown.text
    for name, count in SIZES.items():
        assert f"{name} {count:,}" in shown.text
    said = vecferry("migrate", *stores, "--dry-run", "--json", env={"TMPDIR": str(scratch)}).json
    assert (said["dry_run"], said["records"], len(said["collections"])) == (True, RECORDS, 14)
    assert {one["target"]: one["records"] for one in said["collections"]} == SIZES
    assert qdrant.get_collections().collections == []
    assert everything_in(chroma) == before
    assert everything_in(vecferry.folder) == {}, "something was left in the working directory, or in the ledger's"
    assert everything_in(scratch) == {}, "the snapshot was left behind"


def killed_in_the_middle(vecferry: Vecferry, command: tuple[Any, ...], log: Path) -> None:
    process = vecferry.start(*command)
    wait_until(lambda: copied(log) > RECORDS // 2, process)
    process.kill()
    assert vecferry.end(process, expect=None).code == -signal.SIGKILL


def the_second_process_went_on(done: Any, events: list[dict[str, Any]], there: int) -> None:
    """It says that it resumes, does not look at the source again, and repeats less than a batch or two."""
    assert "Resuming run" in done.err
    assert not [event for event in events if event.get("stage") in ("inspect", "backup")]
    said = done.json
    assert (said["records"], said["differences"], said["ok"]) == (RECORDS, 0, True)
    assert said["resumed"] > there // 3, f"{there} were durable, {said['resumed']} of them were not done again"
    again = sum(e["records"] for e in events if e["event"] == "Progress" and e["stage"] == "copy")
    assert again == RECORDS - said["resumed"]
    assert set(said["seconds"]) == {"inspect", "backup", "copy", "index", "verify", "parity"}


def the_report_is_sound(vecferry: Vecferry, said: dict[str, Any]) -> None:
    page = vecferry.folder / said["report"]
    report = json.loads(page.with_suffix(".json").read_text())
    jsonschema.validate(report, json.loads(SCHEMA.read_text()))
    assert report["verdict"]["kind"] == "proven", report["verdict"]
    assert {one["target"]: (one["records"], one["copied"]) for one in report["collections"]} == {
        name: (count, count) for name, count in SIZES.items()
    }
    text = page.read_text(encoding="utf-8")
    assert all(name in text for name in SIZES)
    assert "14,365" in text


def every_record_is_in_qdrant(truth: dict[str, list[dict[str, Any]]], qdrant: Any) -> None:
    assert {one.name for one in qdrant.get_collections().collections} == set(SIZES)
    for name, records in truth.items():
        found = points(qdrant, name)
        assert qdrant.count(name, exact=True).count == len(records) == len(found)
        for one in records:
            point = found[one["id"]]
            assert point.payload.get("document") == one["document"]
            assert point.payload.get("uri") == one["uri"]
            assert equal(point.payload.get("metadata"), one["metadata"] or None), (one["id"], point.payload)
            stored = np.array(point.vector, np.float32)
            if space_of(name) == "cosine":
                length = np.linalg.norm(one["vector"].astype(np.float64))
                np.testing.assert_allclose(stored, one["vector"] / length, atol=2e-7)
                restored = (stored.astype(np.float64) * point.payload["_vf"]["n"]).astype(np.float32)
                assert floats_apart([restored], [one]) <= 1
            else:
                np.testing.assert_array_equal(stored, one["vector"])


def the_backup_is_an_archive_of_the_source(vecferry: Vecferry, backup: Path, chroma: Path) -> None:
    (archive,) = backup.glob("*/source")
    proof = vecferry("verify", f"chroma:{chroma}", f"files:{archive}", "--no-parity", "--json").json
    assert proof["differences"] == 0
    assert sum(one["records"] for one in proof["collections"]) == RECORDS


def the_way_home(
    vecferry: Vecferry, chroma_process: ChromaProcess, url: str, back: Path, truth: dict[str, list[dict[str, Any]]]
) -> None:
    """Ids, order, documents, uris and metadata exactly; vectors too, under cosine as near as Chroma lets them be."""
    vecferry("migrate", url, f"chroma:{back}", "--yes", "--no-verify")
    for name, records in truth.items():
        home = chroma_process.dump(back, name=name)
        assert [one["id"] for one in home] == [one["id"] for one in records], name
        for one, other in zip(home, records, strict=True):
            same = all(equal(one[field], other[field]) for field in ("document", "uri", "metadata"))
            assert same, (name, one, other)
        apart = floats_apart([one["vector"] for one in home], records)
        assert apart <= (1 + CHROMA_ROUNDS if space_of(name) == "cosine" else 0), name


def bit_for_bit_on_request(vecferry: Vecferry, stores: tuple[str, str], truth: dict[str, list[dict[str, Any]]]) -> None:
    """What Qdrant gives back of a cosine collection: within one float per component, and with `keep` every bit.

    Read from an archive by Arrow, since Chroma would round the vectors once more.
    """
    assert space_of("contracts") == "cosine"
    source, target = stores
    exact = ("-c", "contracts=contracts-exact", "--exact-vectors", "keep")
    vecferry("migrate", source, target, *exact, "--yes", "--no-verify")
    vecferry("migrate", target, "files:archive", "-c", "contracts*", "--yes", "--no-verify")
    wanted = {one["id"]: one for one in truth["contracts"]}
    apart: dict[str, int] = {}
    for part in (vecferry.folder / "archive").rglob("*.parquet"):
        table = pq.read_table(part)
        vectors = table.column("vector").to_pylist()
        name = "contracts-exact" if "exact" in str(part.parent) else "contracts"
        found = floats_apart(vectors, [wanted[ident] for ident in table.column("id").to_pylist()])
        apart[name] = max(found, apart.get(name, 0))
    assert apart["contracts-exact"] == 0
    assert apart["contracts"] <= 1


def floats_apart(vectors: Sequence[Any], records: Sequence[dict[str, Any]]) -> int:
    """How many floats lie between a component and the one that it should be, at most.

    Either of two is right: what the app gave, or what get() returns. Under cosine Chroma rounds a little once a record
    is in its index, and vecferry reads a record from where it is.
    """
    sides = (np.stack([one[key] for one in records]) for key in ("vector", "given"))
    return int(np.minimum(*(_steps(np.asarray(vectors, np.float32), side) for side in sides)).max())


def _steps(one: Any, other: Any) -> Any:
    a, b = (np.ascontiguousarray(side, np.float32).view(np.int32).astype(np.int64) for side in (one, other))
    a, b = (np.where(side < 0, -(side & 0x7FFFFFFF), side) for side in (a, b))
    return np.abs(a - b).max(axis=1)
