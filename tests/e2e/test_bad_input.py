"""Bad input through the command: each case works exactly, or is refused before anything is written, in words that name
the thing and what to do.

What only the reader of Chroma's files can meet (missing, torn and hostile index files, a version newer than known,
records without a vector, vectors of mixed length) is tested case by case in tests/integration/test_chroma_bad_input.py;
damage to archives in tests/unit/files/test_archive.py. Here is what the command makes of such cases.
"""

from __future__ import annotations

import os
import pickle
import resource
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.chroma_data import ChromaData
from tests.e2e.command import Done, Vecferry
from tests.e2e.stores import DIM, docs, equal, occupied, original, points
from tests.integration.chroma_process import ChromaProcess, pack
from vecferry.ids import IdMapper
from vecferry.model import IdKind, IdRule
from vecferry.testing.ports import free_ports
from vecferry.testing.skips import skip

pytestmark = pytest.mark.qdrant
QUICK = ("--no-verify", "--quiet")
ONE = pack([1.0] * DIM)


def refused(done: Done, *words: str) -> None:
    """The message names the thing; a hint says what to do; it is no traceback."""
    assert done.code in {2, 3, 5}, done
    assert "error: " in done.err
    assert "-> " in done.err, f"no hint: {done}"
    assert "Traceback" not in done.err
    folded = "".join(done.err.split())
    for word in words:
        assert "".join(word.split()) in folded, done


# --------------------------------------------------------------------------- the source


def _nothing(path: Path) -> None:
    path.mkdir()


def _a_file(path: Path) -> None:
    path.write_text("hello")


def _empty_database(path: Path) -> None:
    path.mkdir()
    (path / "chroma.sqlite3").touch()


def _other_database(path: Path) -> None:
    path.mkdir()
    connection = sqlite3.connect(path / "chroma.sqlite3")
    connection.execute("create table users (name text)")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("make", [None, _nothing, _a_file, _empty_database, _other_database])
def test_not_a_chroma_directory(
    make: Callable[[Path], None] | None, qdrant_server: Any, vecferry: Vecferry, tmp_path: Path
) -> None:
    """Absent, empty, a file, an empty database, somebody else's database."""
    path = tmp_path / "chroma_db"
    if make is not None:
        make(path)
    refused(vecferry("migrate", f"chroma:{path}", qdrant_server.url, "--yes", expect=5), str(path))
    assert path.exists() == (make is not None)


def test_a_truncated_database(small: Path, qdrant_server: Any, vecferry: Vecferry, tmp_path: Path) -> None:
    path = tmp_path / "chroma_db"
    shutil.copytree(small, path)
    database = path / "chroma.sqlite3"
    database.write_bytes(database.read_bytes()[: database.stat().st_size // 2])
    refused(vecferry("migrate", f"chroma:{path}", qdrant_server.url, "--yes", expect=5), "chroma.sqlite3")


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def test_a_hostile_index_does_not_run(
    chroma_copy: Callable[[str], ChromaData], qdrant_server: Any, name: str, vecferry: Vecferry, tmp_path: Path
) -> None:
    """Every pickle of a Chroma directory replaced by one that runs code: it does not run, and is named."""
    data, crater = chroma_copy("1.5.9"), tmp_path / "crater"
    pickles = list(data.path.rglob("index_metadata.pickle"))
    assert pickles
    for path in pickles:
        path.write_bytes(pickle.dumps(Bomb(crater)))
    done = vecferry(
        "migrate", f"chroma:{data.path}", qdrant_server.url, "--yes", "--name", name + "-{name}", expect=None
    )
    assert not crater.exists()
    refused(done, "index_metadata.pickle")


def test_ids_that_become_one(
    chroma_process: ChromaProcess, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry, tmp_path: Path
) -> None:
    """The text "x" and, beside it, the very UUID that vecferry makes of "x": both are named, nothing is written."""
    path = tmp_path / "chroma_db"
    twin, _ = IdMapper(IdRule()).map(IdKind.TEXT, b"x")
    rows = {"do": "add", "ids": ["x", twin.decode(), "y"], "embeddings": [ONE] * 3, "documents": ["a", "b", "c"]}
    chroma_process.apply(path, [rows], name="docs")
    done = vecferry("migrate", f"chroma:{path}", qdrant_server.url, "-c", f"docs={name}", "--yes", expect=3)
    refused(done, twin.decode(), "x")
    assert not qdrant.collection_exists(name)


def test_unusual_records_arrive_exactly(
    chroma_process: ChromaProcess, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry, tmp_path: Path
) -> None:
    """Ids, keys, numbers and a 10 MB document at the edges of what Chroma takes: over and home, the same.

    A vector of zeros under cosine comes home too, or the plan says first that it does not.
    """
    path = tmp_path / "chroma_db"
    ids = ["../x", "i" * 1000, "🚢 Schiff", "a\tb\nc", "0", "-0", "12345678901234567890123", "\u202eeman"]
    metadatas: list[dict[str, Any]] = [
        {"_vf": "mine", "document": "no document", "metadata": 1, "uri": True},
        {"a.b": 1, "c[0]": 2, 'd"e': 3, "f\\g": 4, " ": 5, "ключ": 6},
        {"int": 2**63 - 1, "low": -(2**63), "beyond": 2**53 + 1},
        {"tiny": 5e-324, "huge": 1.7976931348623157e308, "minus": -0.0, "third": 1 / 3, "round": 1e16},
        {"text": "", "nul": "a\x00b", "long": "z" * 70_000},
        {"yes": True, "no": False, "one": 1, "float": 1.0},
        {f"key-{n:05}": n for n in range(2000)},
        {"list": ["a", ""], "numbers": [1, 2], "floats": [1.0, 2.5], "flags": [True, False]},
    ]
    rng = np.random.default_rng(1)
    rows = {
        "do": "add",
        "ids": ids,
        "embeddings": [pack(rng.standard_normal(DIM)) for _ in ids],
        "documents": [
            "Ж" * (5 << 20),
            "",
            "\x00",
            "\r\n",
            "<script>alert(1)</script>",
            "[bold]x[/]",
            "\x1b[31mred",
            "x",
        ],
        "metadatas": metadatas,
    }
    chroma_process.apply(path, [rows], name="docs")
    truth = chroma_process.dump(path, name="docs")
    assert [one["id"] for one in truth] == ids
    stores = (f"chroma:{path}", qdrant_server.url)
    done = vecferry("migrate", *stores, "-c", f"docs={name}", "--yes", "--queries", "3")
    assert "\x1b" not in done.out + done.err, "an escape code of a document reached the terminal"
    assert points(qdrant, name)["../x"].payload["metadata"]["_vf"] == "mine"
    back = tmp_path / "back"
    vecferry("migrate", qdrant_server.url, f"chroma:{back}", "-c", f"{name}=docs", "--yes", *QUICK)
    home = chroma_process.dump(back, name="docs")
    for one, other in zip(home, truth, strict=True):
        for side in (one, other):  # a key that Chroma's records need for ours: renamed, as the plan said
            side["metadata"].pop("_vf", None)
        for field in ("id", "document", "uri", "metadata"):
            assert equal(one[field], other[field]), (one["id"], field)
    again = vecferry("verify", f"chroma:{path}", f"chroma:{back}", "--no-parity", "--json").json
    assert again["differences"] == 0, "with that key, under its own name"


def test_zero_vectors_under_cosine(
    chroma_process: ChromaProcess, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry, tmp_path: Path
) -> None:
    """They have no direction: moved as zeros and found equal, or refused by name until somebody decides."""
    path = tmp_path / "chroma_db"
    docs(chroma_process, path, 5)
    chroma_process.apply(path, [{"do": "add", "ids": ["nil"], "embeddings": [pack([0.0] * DIM)]}], name="docs")
    move = ("migrate", f"chroma:{path}", qdrant_server.url, "-c", f"docs={name}", "--yes", "--queries", "3")
    done = vecferry(*move, expect=None)
    if done.code == 0:
        assert points(qdrant, name)["nil"].vector == [0.0] * DIM
        return
    refused(done, "zero-vector", "nil", "--accept")
    assert not qdrant.collection_exists(name)
    said = vecferry(*move, "--accept", "zero-vector=quarantine", "--json").json
    assert (said["records"], said["rejected"]) == (5, 1)


def test_metadata_that_chroma_cannot_hold(
    chroma_process: ChromaProcess, start_qdrant: Any, clients: Any, vecferry: Vecferry, tmp_path: Path
) -> None:
    """From Qdrant: nested 100 deep, 5,000 keys, nulls, mixed lists, empty and reserved keys. Told, moved, and back."""
    from qdrant_client import models

    server = start_qdrant()
    client = clients(server)
    deep: Any = {"end": 1}
    for level in range(100):
        deep = {f"level-{level}": deep}
    payloads: list[dict[str, Any]] = [
        {"deep": deep},
        {f"key-{n:05}": n for n in range(5000)},
        {"null": None, "empty": {}, "none": [], "mixed": [1, "a", None, 2.5, {"x": [True]}]},
        {"": "no name", "chroma:document": "theirs", "chroma:uri": 1, "#key": 2, "$and": [1]},
        {"big": 2**63 - 1, "low": -(2**63), "float": 3.0},
        {},
    ]
    client.create_collection("theirs", vectors_config=models.VectorParams(size=DIM, distance=models.Distance.EUCLID))
    client.upsert(
        "theirs",
        [models.PointStruct(id=n, vector=[n + 1.0] * DIM, payload=payload) for n, payload in enumerate(payloads)],
        wait=True,
    )
    path = tmp_path / "chroma_db"
    move = ("migrate", server.url, f"chroma:{path}", "-c", "theirs", "--yes", "--queries", "3")
    done = vecferry(*move)
    assert "Every record was compared" in done.out
    assert "cannot see" in done.text, "filters on what Chroma keeps as text are left out, with the reason"
    for shape in ("nested-object", "null-value", "mixed-list", "empty-list", "id-int", "empty-key", "reserved-key"):
        assert shape in done.err, "the plan says what becomes of it"
    assert len(chroma_process.dump(path, name="theirs")) == len(payloads)
    vecferry("migrate", f"chroma:{path}", server.url, "-c", "theirs=home", "--yes", *QUICK)
    found, _ = client.scroll("home", limit=10, with_payload=True, with_vectors=True)
    home = {original(point): point for point in found}
    for n, payload in enumerate(payloads):
        held = {key: value for key, value in home[str(n)].payload.items() if key != "_vf"}
        assert equal(held.get("metadata", held), payload), (n, held)
        assert home[str(n)].vector == [n + 1.0] * DIM


def test_more_keys_than_chroma_takes(
    chroma_process: ChromaProcess, start_qdrant: Any, clients: Any, vecferry: Vecferry, tmp_path: Path
) -> None:
    """10,000 keys and 9,000 list elements in a record: counted in the plan, moved, found equal, and back home.

    Past its limit Chroma accepts the record into its log and can never again read or write that collection.
    """
    from qdrant_client import models

    server = start_qdrant()
    client = clients(server)
    client.create_collection("theirs", vectors_config=models.VectorParams(size=DIM, distance=models.Distance.EUCLID))
    keys = {f"key-{n:05}": n for n in range(10_000)}
    payloads: list[dict[str, Any]] = [
        keys,
        {**{f"other-{n:05}": n for n in range(5_458)}, "": 1, "zzz": [1, 2]},
        {"a": list(range(5_461)), "b": ["x"], "zz": 1, "$zz": 2},
        {f"list-{n:04}": [n, n, n] for n in range(3_000)},
        {"few": 1},
    ]
    found = [models.PointStruct(id=n, vector=[n + 1.0] * DIM, payload=payload) for n, payload in enumerate(payloads)]
    client.upsert("theirs", found, wait=True)
    path = tmp_path / "chroma_db"
    move = ("migrate", server.url, f"chroma:{path}", "--yes", "--queries", "3", "--json")
    dry = vecferry(*move, "--dry-run").json["plan"]["collections"][0]
    cells = {cell["shape"]: (cell["count"], cell["examples"]) for cell in dry["cells"]}
    assert cells["many-keys"] == (2, ["0 (10,000)", "1 (5,459)"])
    assert cells["long-lists"] == (2, ["2 (5,462)", "3 (9,000)"])
    assert cells["reserved-key"] == (1, ["2: $zz"]), "past the keys that a profile lists"
    assert cells["empty-key"][0] == 1
    said = vecferry(*move, expect=None).json
    assert (said["records"], said["differences"]) == (5, 0)
    held = chroma_process.dump(path, name="theirs")
    assert len(held) == 5
    vecferry("migrate", f"chroma:{path}", server.url, "-c", "theirs=home", "--yes", *QUICK)
    home, _ = client.scroll("home", limit=10, with_payload=True)
    for point in home:
        back = {key: value for key, value in point.payload.items() if key != "_vf"}
        assert equal(back.get("metadata", back), payloads[int(original(point))])


# --------------------------------------------------------------------------- the target


def test_a_target_that_cannot_be_used(
    small: Path, qdrant_server: Any, qdrant_with_key: Any, qdrant_with_tls: Any, name: str, vecferry: Vecferry
) -> None:
    """Down, ports swapped, TLS spoken to a plain port and the reverse, an unknown authority, no key, a wrong key."""
    (nobody,) = free_ports(1)
    http, grpc = qdrant_server.http_port, qdrant_server.grpc_port
    plain_to_tls = qdrant_with_tls.url.replace("https", "http", 1)
    cases: list[tuple[str, dict[str, str], tuple[str, ...]]] = [
        (f"qdrant+http://127.0.0.1:{nobody}", {}, (str(nobody),)),
        (f"qdrant+http://127.0.0.1:{grpc}?grpc_port={http}", {}, (str(grpc), "gRPC")),
        (f"qdrant+https://127.0.0.1:{http}?grpc_port={grpc}", {}, (str(http), "http")),
        (plain_to_tls, {}, (str(qdrant_with_tls.http_port),)),
        (qdrant_with_tls.url, {}, (str(qdrant_with_tls.http_port), "certificate")),
        (qdrant_with_key.url, {}, ("QDRANT_API_KEY",)),
        (qdrant_with_key.url, {"QDRANT_API_KEY": "wrong"}, ("key",)),
    ]
    for url, env, words in cases:
        move = ("migrate", f"chroma:{small}", url, "-c", f"docs={name}", "--yes")
        refused(vecferry(*move, env=env, expect=None), *words)


def test_a_small_target_of_another_form(
    small: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry
) -> None:
    """An empty collection of another dimension is not written into either."""
    occupied(qdrant, name, dim=5, count=1)
    qdrant.delete(name, [point.id for point in points(qdrant, name).values()], wait=True)
    done = vecferry("migrate", f"chroma:{small}", qdrant_server.url, "-c", f"docs={name}", "--yes", expect=3)
    refused(done, name, "5", "8")


# --------------------------------------------------------------------------- our own files


def test_a_ledger_that_cannot_be_written(
    small: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry, tmp_path: Path
) -> None:
    """In a folder that is a file; as a folder; as bytes that are no database: said before the first write."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "noise.db").write_bytes(os.urandom(8192))
    move = ("migrate", f"chroma:{small}", qdrant_server.url, "-c", f"docs={name}", "--yes")
    for ledger in (tmp_path / "file" / "ledger.db", tmp_path, tmp_path / "noise.db"):
        refused(vecferry(*move, "--ledger", ledger, expect=5), str(ledger))
    assert not qdrant.collection_exists(name)


def test_a_folder_that_may_not_be_written(
    small: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry, tmp_path: Path
) -> None:
    """A read-only folder for ledger, backup and reports: the ledger's and the backup's stop before the first write."""
    if os.geteuid() == 0:
        skip("root-user")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    move = ("migrate", f"chroma:{small}", qdrant_server.url, "-c", f"docs={name}", "--yes")
    refused(vecferry(*move, "--ledger", closed / "ledger.db", expect=5), str(closed))
    refused(vecferry(*move, "--backup", closed / "backup", expect=5), str(closed))
    assert not qdrant.collection_exists(name)


def test_a_disk_that_fills_up(
    larger: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry, tmp_path: Path
) -> None:
    """No file may grow past 64 kB: the backup stops the run before the first write; with room it goes through."""

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, 64 << 10))

    move = ("migrate", f"chroma:{larger}", qdrant_server.url, "-c", f"docs={name}", "--yes", *QUICK)
    backup = ("--backup", tmp_path / "backup")
    unmeasured = {"COVERAGE_PROCESS_CONFIG": "", "COVERAGE_PROCESS_START": ""}  # its data file would not fit either
    done = vecferry.end(vecferry.start(*move, *backup, preexec=no_room, env=unmeasured), expect=5)
    refused(done)
    assert not qdrant.collection_exists(name)
    assert vecferry(*move, *backup, "--json").json["records"] == 3000


def test_an_archive_that_was_tampered_with(
    small: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry, tmp_path: Path
) -> None:
    """One byte changed in a part of an archive: named by file, nothing is written."""
    archive = tmp_path / "archive"
    vecferry("migrate", f"chroma:{small}", f"files:{archive}", "--yes", *QUICK)
    (part,) = archive.rglob("*.parquet")
    damaged = bytearray(part.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    part.write_bytes(damaged)
    done = vecferry("migrate", f"files:{archive}", qdrant_server.url, "-c", f"docs={name}", "--yes", expect=5)
    refused(done, part.name)
    assert not qdrant.collection_exists(name)


def test_a_collection_that_the_source_does_not_have(small: Path, qdrant_server: Any, vecferry: Vecferry) -> None:
    """Named, with what there is instead."""
    done = vecferry("migrate", f"chroma:{small}", qdrant_server.url, "-c", "doc", "--yes", expect=5)
    refused(done, "'doc'", "docs")
