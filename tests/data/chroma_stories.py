"""Writes one Chroma directory with the chromadb of the interpreter that runs it, and says what stands in it.

    python chroma_stories.py write  DIR [upgrade]     the stories below, or the second half of them on an older DIR
    python chroma_stories.py truth  DIR OUT           what this chromadb's own get() returns, beside what it was given

Run by make_chroma.py in an environment per version; imports nothing of vecferry, so that no code of ours has a part in
the directories that our reader is tested with. `write` leaves given.json beside the data, `truth` consumes it. `truth`
opens a *copy*: opening a directory already changes it in some versions.
"""

import base64
import json
import shutil
import sys
import tempfile
from pathlib import Path

import chromadb
import numpy as np
from chromadb.config import Settings

MODERN = not chromadb.__version__.startswith("0.")
SMALL = {"hnsw:batch_size": 10, "hnsw:sync_threshold": 20}  # small enough that little data reaches the index files


class Written:
    """A collection, and beside it what it was given: the same calls on a plain dict, with Chroma's merging rules."""

    def __init__(self, client, tenant, database, name, dim, metadata, story, given, **more):
        try:
            self.collection = client.get_collection(name)
        except Exception:
            self.collection = client.create_collection(name, metadata=metadata, **more)
        key = f"{tenant}/{database}/{name}"
        self.entry = given.setdefault(
            key, {"tenant": tenant, "database": database, "name": name, "dim": dim, "story": story, "records": {}}
        )
        self.entry["space"] = self.entry.get("space") or more.get("configuration", {}).get("hnsw", {}).get(
            "space", (metadata or {}).get("hnsw:space", "l2")
        )
        self.records = self.entry["records"]
        self.dim = dim
        self.random = np.random.default_rng([len(self.records), *name.encode()])

    def vectors(self, count):
        return self.random.standard_normal((count, self.dim)).astype(np.float32)

    def add(self, ids, vectors=None, **columns):
        """New records only: an id that is there keeps what it has."""
        vectors = self.vectors(len(ids)) if vectors is None else np.asarray(vectors, np.float32)
        self.collection.add(ids=ids, embeddings=vectors.tolist(), **columns)
        for row, name in enumerate(ids):
            if name not in self.records:
                self.records[name] = {"vector": None, "document": None, "metadata": None, "uri": None}
                self._merge(name, row, vectors, columns)

    def update(self, ids, vectors=None, **columns):
        """Existing records only; what is not given stays."""
        given = {} if vectors is None else {"embeddings": np.asarray(vectors, np.float32).tolist()}
        self.collection.update(ids=ids, **given, **columns)
        for row, name in enumerate(ids):
            if name in self.records:
                self._merge(name, row, vectors, columns)

    def upsert(self, ids, vectors=None, **columns):
        """Either; what is not given stays."""
        vectors = self.vectors(len(ids)) if vectors is None else np.asarray(vectors, np.float32)
        self.collection.upsert(ids=ids, embeddings=vectors.tolist(), **columns)
        for row, name in enumerate(ids):
            self.records.setdefault(name, {"vector": None, "document": None, "metadata": None, "uri": None})
            self._merge(name, row, vectors, columns)

    def delete(self, ids):
        self.collection.delete(ids=ids)
        for name in ids:
            self.records.pop(name, None)

    def _merge(self, name, row, vectors, columns):
        record = self.records[name]
        if vectors is not None:
            record["vector"] = encode(np.asarray(vectors, np.float32)[row])
        for column, field in (("documents", "document"), ("uris", "uri")):
            if columns.get(column) is not None and columns[column][row] is not None:
                record[field] = columns[column][row]
        if columns.get("metadatas") is not None and columns["metadatas"][row] is not None:
            merged = {**(record["metadata"] or {}), **columns["metadatas"][row]}
            record["metadata"] = {key: value for key, value in merged.items() if value is not None} or None


def encode(vector):
    return base64.b64encode(np.ascontiguousarray(vector, "<f4").tobytes()).decode()


def ids_of(prefix, count, start=0):
    return [f"{prefix}{number:04d}" for number in range(start, start + count)]


def plain(ids):
    """Documents and metadata such as a retrieval application writes."""
    return {
        "documents": [f"Chunk {name}: the quick brown fox, page {number % 7}." for number, name in enumerate(ids)],
        "metadatas": [
            {"source": f"docs/{number % 5}.md", "page": number, "score": number / 8, "draft": number % 3 == 0}
            for number in range(len(ids))
        ],
    }


def write_synced(make):
    """Every space with index files on disk: all records synced, then a tail in the log, then changes in the tail."""
    for space, dim in (("l2", 8), ("cosine", 16), ("ip", 8)):
        one = make(f"synced_{space}", dim, {"hnsw:space": space, **SMALL}, "synced to the index files, nothing after")
        for start in range(0, 120, 20):
            ids = ids_of("r", 20, start)
            one.add(ids, **plain(ids))
        tail = make(f"tail_{space}", dim, {"hnsw:space": space, **SMALL}, "synced, then a tail of every operation")
        ids = ids_of("t", 60)
        for start in range(0, 60, 20):
            tail.add(ids[start : start + 20], **plain(ids[start : start + 20]))
        late = ids_of("late", 5)
        tail.add(late, **plain(late))
        tail.delete(ids[3:6])
        tail.update(ids[10:12], tail.vectors(2), documents=["changed one", "changed two"])
        tail.upsert([ids[20], "fresh"], metadatas=[{"merged": True}, {"new": 1}])


def write_wal_only(make):
    """Default thresholds: nothing has reached the index files yet."""
    one = make("wal_only", 8, None, "records in the write-ahead log only")
    ids = ids_of("w", 80)
    one.add(ids, **plain(ids))
    one.delete(ids[70:])
    one.add(ids[75:77])
    one.update(ids[:2], one.vectors(2))
    cosine = make("wal_cosine", 4, {"hnsw:space": "cosine"}, "in the log only, cosine: vectors as they were given")
    cosine.add(["plain", "long", "tiny"], [[1, 2, 3, 4], [1e6, -1e6, 3e5, 0.5], [1e-20, 2e-20, -1e-20, 0]])


def write_churn(make):
    """Ids that go and come back, across several syncs."""
    one = make("churn", 8, {"hnsw:space": "l2", **SMALL}, "deleted, re-added, updated and upserted across syncs")
    ids = ids_of("c", 100)
    for start in range(0, 100, 25):
        one.add(ids[start : start + 25], **plain(ids[start : start + 25]))
    one.delete(ids[90:])  # the highest rows: Chroma gives their row numbers out again
    one.delete(ids[::7])
    one.add(ids[0:21:7], documents=["back again"] * 3)
    one.add(ids[1:3])  # already there: ignored
    one.upsert(ids[30:50], metadatas=[{"page": -1, "extra": "merged"}] * 20)
    one.update(["nobody"], [[0.0] * 8])  # not there: ignored
    one.update(ids[51:53], one.vectors(2), documents=["only text and vector", ""])
    one.update(ids[54:56], metadatas=[{"only": "metadata"}, {"page": 7.5}])
    more = ids_of("d", 45)
    one.add(more, **plain(more))
    one.delete(more[::9])
    one.upsert([*more[::9][:2], "e1"])


SCALARS = {
    "int": 7,
    "zero": 0,
    "negative": -12,
    "past_double": 2**53 + 1,
    "int64_max": 2**63 - 1,
    "int64_min": -(2**63),
    "float": 1.5,
    "whole_float": 3.0,
    "negative_float": -2.25,
    "sum": 0.1 + 0.2,
    "large": 1.7976931348623157e308,
    "denormal": 5e-324,
    "true": True,
    "false": False,
    "text": "text",
    "empty_text": "",
    "looks_like_int": "1",
    "unicode": "Žluťoučký kůň 东京 \U0001f680 e\u0301",
    "nul": "a\x00b",
    "long": "x" * 5000,
    "ключ": "unicode key",
    "a key.with $signs/": "odd key",
    "\U0001f511": "emoji key",
}
LIST_VALUES = {
    "texts": ["b", "a", "b", ""],
    "ints": [3, 1, 2**53 + 1, 3],
    "floats": [1.5, -2.0, 0.1],
    "bools": [True, False, True],
    "single": ["one"],
    "unicode": ["é", "e\u0301", "\U0001f680"],
}


def write_types(make):
    """Every shape of record that this version takes."""
    one = make("types", 4, {"hnsw:space": "l2"}, "metadata of every type, documents and uris absent, odd ids")
    one.add(["all"], metadatas=[SCALARS], documents=["all types"], uris=["s3://bucket/all.txt"])
    for key, value in SCALARS.items():
        one.add([f"only:{key}"], metadatas=[{key: value}])
    one.add(["bare"])
    one.add(["no-metadata"], documents=["text, no metadata"])
    one.add(["empty-document"], documents=[""], metadatas=[{"k": "v"}])
    one.add(["uri-only"], uris=["file:///data/é.txt"])
    one.add(["some", "none"], metadatas=[{"k": 1}, None], documents=["one of two", "has no metadata"])
    documents = ["Žluťoučký kůň 东京 \U0001f680", "NUL: a\x00b", "tab\tnew\nline\r\n", "e\u0301 is not é", "y" * 9_000]
    one.add([f"doc{n}" for n in range(len(documents))], documents=documents)
    odd = [
        "../x",
        "x" * 1000,
        "\U0001f680",
        "with space",
        "nul\x00id",
        "Ünïcode",
        "1",
        "01",
        "'; drop table",
        "a/b?c=d#e",
    ]
    one.add(odd)
    if MODERN:
        one.upsert(["dropped-key"], metadatas=[{"keep": 1, "drop": 2}])
        one.update(["dropped-key"], metadatas=[{"drop": None}])
        one.add(["lists"], metadatas=[LIST_VALUES], documents=["all lists"])
        for key, value in LIST_VALUES.items():
            one.add([f"list:{key}"], metadatas=[{key: value, "beside": 1}])
        one.upsert(["list:single"], metadatas=[{"single": ["now", "two"]}])
        one.upsert(["list:ints"], metadatas=[{"ints": "no list any more"}])


def write_numbers(make):
    """Vectors whose bits are easily lost."""
    hard = [
        [0.0, 0.0, 0.0],
        [-0.0, 0.0, 1.0],
        [1.4e-45, -1.1754944e-38, 1e-40],
        [3.4028235e38, -3.4028235e38, 1.0],
        [0.1, 0.2, 0.3],
        [1 / 3, 16777217, -1e-7],
        [-5.5, 1e-3, 1e5],
        [7.0, 0.1, 0.7],
    ]
    for space in ("l2", "ip", "cosine"):
        rows = hard[4:] if space == "cosine" else hard
        one = make(f"numbers_{space}", 3, {"hnsw:space": space, "hnsw:batch_size": 3, "hnsw:sync_threshold": 3}, "hard")
        one.add([f"n{row}" for row in range(len(rows))], rows)


def write_empty(make):
    """Nothing in it: never written, and written and emptied."""
    make("never_written", None, {"hnsw:space": "cosine", "owner": "nobody"}, "created, never written")
    one = make("emptied", 4, {"hnsw:space": "ip", **SMALL}, "written, synced, then emptied")
    ids = ids_of("gone", 40)
    one.add(ids)
    one.delete(ids)


def write_configured(make):
    """The space and thresholds where newer versions keep them: in the configuration, not in the metadata."""
    for space in ("l2", "cosine", "ip"):
        config = {"hnsw": {"space": space, "batch_size": 10, "sync_threshold": 20}}
        one = make(f"configured_{space}", 8, None, "space in the configuration", configuration=config)
        ids = ids_of("k", 45)
        one.add(ids[:40], **plain(ids[:40]))
        one.add(ids[40:])


def write_upgrade(make):
    """What an application does after it upgraded chromadb under an existing directory."""
    for space in ("l2", "cosine", "ip"):
        one = make(f"tail_{space}", 16 if space == "cosine" else 8, None, "")
        ids = ids_of("new", 30)
        one.add(ids, **plain(ids))
        one.delete(["t0001", "late0001", *ids[:2]])
        one.update(["t0030"], one.vectors(1), documents=["after the upgrade"])
        one.upsert(["t0003", "t0031"], metadatas=[{"back": True}, {"touched": 2}])
    wal = make("wal_only", 8, None, "")
    wal.add(ids_of("x", 5))
    wal.delete(["w0003"])
    fresh = make("born_later", 4, {"hnsw:space": "cosine"}, "created after the upgrade")
    fresh.add(ids_of("b", 10))


def maker(settings, tenant, database, given):
    client = chromadb.PersistentClient(
        path=settings.persist_directory, settings=settings, tenant=tenant, database=database
    )

    def make(name, dim, metadata, story, **more):
        return Written(client, tenant, database, name, dim, metadata, story, given, **more)

    return make


def settings_for(folder):
    return Settings(anonymized_telemetry=False, is_persistent=True, persist_directory=str(folder))


def write(folder, upgrade):
    settings = settings_for(folder)
    kept = Path(folder, "given.json")
    given = json.loads(kept.read_text()) if upgrade else {}
    make = maker(settings, "default_tenant", "default_database", given)
    if upgrade:
        write_upgrade(make)
    else:
        for story in (write_synced, write_wal_only, write_churn, write_types, write_numbers, write_empty):
            story(make)
        if MODERN:
            write_configured(make)
        write_tenants(settings, given)
    kept.write_text(json.dumps(given))


def write_tenants(settings, given):
    """The same collection name in several tenants and databases."""
    admin = chromadb.AdminClient(settings)
    admin.create_tenant("acme")
    for tenant, database in (("default_tenant", "second"), ("acme", "prod"), ("acme", "test")):
        admin.create_database(database, tenant)
        make = maker(settings, tenant, database, given)
        one = make("shared", 4, {"hnsw:space": "cosine", "tenant": tenant}, "one name in several tenants and databases")
        ids = ids_of(f"{tenant}-{database}-", 12)
        one.add([*ids, "common"], documents=[f"{tenant} {database}"] * 13)


def truth(folder, out):
    given = json.loads(Path(folder, "given.json").read_text())
    with tempfile.TemporaryDirectory() as room:
        copy = Path(room, "copy")
        shutil.copytree(folder, copy)
        settings = settings_for(copy)
        collections = [read(settings, entry) for entry in given.values()]
    document = {"chroma": chromadb.__version__, "collections": collections}
    Path(out).write_text(json.dumps(document, ensure_ascii=True, indent=1, sort_keys=True) + "\n")
    Path(folder, "given.json").unlink()


def read(settings, entry):
    client = chromadb.PersistentClient(
        path=settings.persist_directory, settings=settings, tenant=entry["tenant"], database=entry["database"]
    )
    collection = client.get_collection(entry["name"])
    got = collection.get(include=["embeddings", "documents", "metadatas", "uris"])
    records = [
        {"id": name, "vector": encode(vector), "document": document, "metadata": metadata or None, "uri": uri}
        for name, vector, document, metadata, uri in zip(
            got["ids"],
            got["embeddings"] if got["ids"] else [],
            got["documents"] or [None] * len(got["ids"]),
            got["metadatas"] or [None] * len(got["ids"]),
            got["uris"] or [None] * len(got["ids"]),
            strict=True,
        )
    ]
    differs = []
    for record in records:
        wanted = entry["records"].get(record["id"])
        if wanted is None:
            raise SystemExit(f"{entry['name']}: get() returned {record['id']!r}, which was never given")
        if wanted["vector"] != record["vector"]:
            record["given_vector"] = wanted["vector"]
        differs += [
            {"id": record["id"], "field": field, "given": wanted[field], "got": record[field]}
            for field in ("document", "metadata", "uri")
            if json.dumps(wanted[field], sort_keys=True) != json.dumps(record[field], sort_keys=True)
        ]
    missing = sorted(entry["records"].keys() - set(got["ids"]))
    return {
        "tenant": entry["tenant"],
        "database": entry["database"],
        "name": entry["name"],
        "id": str(collection.id),
        "story": entry["story"],
        "space": entry["space"],
        "dimension": entry["dim"],
        "metadata": collection.metadata,
        "count": collection.count(),
        "records": records,
        "missing_from_get": missing,
        "differs_from_given": differs,
    }


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[2], upgrade="upgrade" in sys.argv[3:])
    else:
        truth(sys.argv[2], sys.argv[3])
