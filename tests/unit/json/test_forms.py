"""JSON backups as people write them: every form in use is recognised, read whole, and refused by place where torn."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecferry.arrow import to_records
from vecferry.errors import ConfigError, CorruptData, DataError, VecferryError
from vecferry.model import IdKind, Metric, Record, Rejection, VectorKind
from vecferry.registry import open_database

GET: dict[str, Any] = {
    "ids": ["a", "b", "c"],
    "embeddings": [[0.1, 2], [3e-3, -4.0], [5, 6]],
    "documents": ["x", None, 'z, ["}'],
    "metadatas": [{"k": 1, "f": 1.0}, None, {}],
    "uris": None,
    "data": None,
    "included": ["embeddings", "documents"],
}
RECORDS: list[dict[str, Any]] = [
    {"id": "a", "embedding": [0.1, 2], "document": "x", "metadata": {"k": 1, "f": 1.0}},
    {"id": "b", "embedding": [3e-3, -4.0], "document": None, "metadata": None},
    {"id": "c", "embedding": [5, 6], "document": 'z, ["}', "metadata": {}},
]

Save = Callable[..., str]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Writes a file and gives its URL."""

    def write(value: Any, *, name: str = "docs.json", options: str = "") -> str:
        data = value if isinstance(value, bytes) else (value if isinstance(value, str) else json.dumps(value)).encode()
        (tmp_path / name).write_bytes(data)
        return f"json:{tmp_path / name}{options}"

    return write


def read(url: str, name: str = "") -> tuple[list[Record], list[Rejection]]:
    """The records of the collection, or of the only one."""
    database = open_database(url)
    try:
        specs = list(database.collections())
        source = database.source(name or specs[0].name)
        chunks = [chunk for part in source.partitions() for chunk in source.read(part)]
        records = [record for chunk in chunks for record in to_records(chunk.batch, source.describe())]
        return records, [one for chunk in chunks for one in chunk.rejected]
    finally:
        database.close()


def form(url: str) -> tuple[str, list[str]]:
    """What the file was taken for, and the collections in it."""
    database = open_database(url)
    try:
        return database.identity.version, [spec.name for spec in database.collections()]
    finally:
        database.close()


def lines(records: list[Any]) -> str:
    return "".join(f"{json.dumps(one)}\n" for one in records)


FORMS = {
    "columns": (GET, "columns"),
    "columns, indented": (json.dumps(GET, indent=2), "columns"),
    "columns with a header": ({"export_date": "2026-01-02", "collection": "docs", "count": 3, **GET}, "columns"),
    "columns under data": ({"collection_name": "docs", "total": 3, "data": GET}, "columns"),
    "columns by name": ({"docs": GET}, "columns"),
    "columns, ids last": ({key: GET[key] for key in reversed(GET)}, "columns"),
    "records": (RECORDS, "records"),
    "records, indented": (json.dumps(RECORDS, indent=1), "records"),
    "records with a header": (
        {"export_date": "2026-01-02", "collection": "docs", "count": 3, "records": RECORDS},
        "records",
    ),
    "records under another key": ({"collection": "docs", "chunks": RECORDS}, "records"),
    "collections, a list": ({"collections": [{"name": "docs", **GET}]}, "columns"),
    "collections, by name": ({"total": 3, "collections": {"docs": {"records": RECORDS}}}, "records"),
    "lines": (lines(RECORDS), "lines"),
    "lines, empty ones between": (lines(RECORDS).replace("\n", "\r\n\r\n"), "lines"),
    "lines, no end": (lines(RECORDS).rstrip(), "lines"),
    "byte order mark": (b"\xef\xbb\xbf" + json.dumps(RECORDS).encode(), "records"),
    "other names": (
        [
            {"_id": r["id"], "values": r["embedding"], "page_content": r["document"], "payload": r["metadata"]}
            for r in RECORDS
        ],
        "records",
    ),
}


@pytest.mark.parametrize("which", FORMS)
def test_every_form_gives_the_same_records(save: Save, which: str) -> None:
    value, wanted = FORMS[which]
    url = save(value)
    assert form(url) == (f"form {wanted}", ["docs"])
    records, rejected = read(url)
    assert rejected == []
    assert [(r.id, r.document, r.metadata, r.seq) for r in records] == [
        ("a", "x", {"k": 1, "f": 1.0}, 0),
        ("b", None, None, 1),
        ("c", 'z, ["}', {}, 2),
    ]
    assert [type(value) for value in (records[0].metadata or {}).values()] in ([int, float], [float, int])
    expected = np.array(GET["embeddings"], np.float32)
    assert np.array([r.vectors[""] for r in records]).tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", ["docs.json.gz", "docs.json", "docs.txt"])
def test_packing_is_told_by_the_first_bytes(save: Save, name: str) -> None:
    url = save(gzip.compress(json.dumps(GET).encode()), name=name)
    assert form(url)[0] == "form columns gzip"
    assert len(read(url)[0]) == 3


def test_several_collections(save: Save) -> None:
    url = save({"exported": "2026", "collections": [{"name": "one", **GET}, {"name": "two", "items": RECORDS[:2]}]})
    assert form(url) == ("form columns and records", ["one", "two"])
    assert [len(read(url, name)[0]) for name in ("one", "two")] == [3, 2]


def test_more_records_than_a_block_in_every_form(save: Save) -> None:
    count = 3_000
    ids = [f"{n:05}" for n in range(count)]
    vectors = [[n / 7, -n] if n % 5 else None for n in range(count)]
    documents = [None if n % 3 else f'doc {n} "[' for n in range(count)]
    records = [{"id": i, "vector": v, "text": d} for i, v, d in zip(ids, vectors, documents, strict=True)]
    for value in ({"ids": ids, "embeddings": vectors, "documents": documents}, records, lines(records)):
        url = save(value)
        found, rejected = read(url)
        assert rejected == []
        assert [r.id for r in found] == ids
        assert [r.document for r in found] == documents
        expected = [None if v is None else np.array(v, np.float32).tobytes() for v in vectors]
        assert [None if r.vectors[""] is None else r.vectors[""].tobytes() for r in found] == expected  # type: ignore[union-attr]


def test_header_becomes_the_metadata_of_the_collection(save: Save) -> None:
    database = open_database(save({"export_date": "2026-01-02", "name": "n", "metadata": {"hnsw:space": "ip"}, **GET}))
    (spec,) = database.collections()
    database.close()
    assert spec.metadata == {"export_date": "2026-01-02", "hnsw:space": "ip"}
    assert (spec.name, spec.vectors[0].metric, spec.count) == ("n", Metric.IP, 3)


@pytest.mark.parametrize("options, metric", [("", Metric.L2), ("?metric=cosine", Metric.COSINE)])
def test_metric_of_a_dump_without_one_is_chromas_default(save: Save, options: str, metric: Metric) -> None:
    database = open_database(save(GET, options=options))
    (spec,) = database.collections()
    database.close()
    assert spec.vectors[0].metric is metric


def test_without_embeddings(save: Save) -> None:
    records, rejected = read(save({**GET, "embeddings": None}))
    assert rejected == []
    assert [r.vectors for r in records] == [{}, {}, {}]
    assert [r.document for r in records] == GET["documents"]


def test_ids_keep_their_kinds(save: Save) -> None:
    records, _ = read(save([{"id": 5, "vector": [1]}, {"id": "5", "vector": [2]}, {"id": 2**64, "vector": [3]}]))
    assert [(r.id, r.id_kind) for r in records] == [("5", IdKind.INT), ("5", IdKind.TEXT), (str(2**64), IdKind.TEXT)]
    records, _ = read(save([{"id": 2**64 - 1, "vector": [1]}]))
    assert [(r.id, r.id_kind) for r in records] == [(str(2**64 - 1), IdKind.INT)]


def test_fields_that_are_nothing_else_belong_to_the_metadata(save: Save) -> None:
    records, _ = read(save([{"id": "a", "vector": [1], "metadata": {"k": 1}, "client": "x", "k": 2, "score": 1.0}]))
    assert records[0].metadata == {"k": 1, "client": "x", "record.k": 2, "score": 1.0}


def test_numbers_keep_every_digit(save: Save) -> None:
    value = {"big": 2**80, "u64": 2**64 - 1, "nan": float("nan"), "inf": float("-inf"), "f": 0.1234567890123456789}
    records, _ = read(save([{"id": "a", "vector": [1], "metadata": value}]))
    found = dict(records[0].metadata or {})
    assert np.isnan(found.pop("nan"))
    value.pop("nan")
    assert found == value


def test_text_keeps_every_character(save: Save) -> None:
    text = '\u0000 \u2028 \U0001f6a2 " \\ / é'
    for ascii_only in (True, False):
        records, _ = read(save(json.dumps([{"id": text, "vector": [1], "text": text}], ensure_ascii=ascii_only)))
        assert (records[0].id, records[0].document) == (text, text)


@pytest.mark.parametrize(
    "field, value, reason",
    [
        ("vector", [float("nan"), 1], "NaN"),
        ("vector", [1e39, 1], "past the range"),
        ("vector", [1, "2"], "no float32 number"),
        ("vector", [1, None], "no float32 number"),
        ("vector", [1, 2, 3], "3 dimensions, the collection 2"),
        ("vector", "[1, 2]", "not a list"),
        ("metadata", [1], "not an object"),
        ("metadata", {"a": "\ud800"}, "surrogates"),
        ("text", "\udfff", "surrogates"),
        ("text", {"a": 1}, "not text"),
        ("id", "\ud800", "surrogates"),
        ("id", "", "id"),
        ("id", 1.5, "id"),
    ],
)
def test_a_record_that_cannot_be_read_is_a_rejection(save: Save, field: str, value: Any, reason: str) -> None:
    good = [{"id": f"good-{n}", "vector": [n, 1], "text": "t", "metadata": {"n": n}} for n in range(200)]
    bad = {"id": "bad", "vector": [1, 1], "text": "t", "metadata": {}, field: value}
    for text in (json.dumps([*good, bad]), lines([bad, *good])):
        records, rejected = read(save(text))
        assert [r.id for r in records] == [r["id"] for r in good]
        assert len(rejected) == 1
        assert reason in rejected[0].reason
        assert field == "id" or rejected[0].id == "bad"


def test_vectors_of_points(save: Save) -> None:
    """Points as Qdrant's REST interface gives them: named, sparse, and several rows."""
    point = {"id": 1, "vector": {"text": [1, 2], "words": {"indices": [7, 3], "values": [0.5, 1]}}, "payload": {"a": 1}}
    url = save({"result": {"points": [point, {"id": 2, "vector": {"text": [3, 4]}, "payload": None}]}})
    records, rejected = read(url)
    assert rejected == []
    indices, values = records[0].vectors["words"]  # type: ignore[misc]
    assert (indices.tolist(), values.tolist()) == ([3, 7], [1.0, 0.5])  # type: ignore[union-attr]
    assert records[1].vectors["words"] is None
    database = open_database(url)
    assert [vector.kind for vector in next(iter(database.collections())).vectors] == [
        VectorKind.DENSE,
        VectorKind.SPARSE,
    ]
    database.close()
    records, _ = read(save([{"id": 1, "vector": [[1, 2], [3, 4]]}]))
    assert records[0].vectors[""].shape == (2, 2)  # type: ignore[union-attr]


def test_a_file_is_read_as_told(save: Save) -> None:
    both = {**GET, "records": RECORDS[:1]}
    assert form(save(both)) == ("form columns", ["docs"])
    with pytest.raises(CorruptData, match=r"not have the form 'lines', but 'columns'|expected '{'"):
        form(save(json.dumps(GET, indent=1), options="?form=lines"))
    with pytest.raises(CorruptData, match="not have the form 'columns', but 'records'"):
        form(save(RECORDS, options="?form=columns"))
    assert form(save(json.dumps(RECORDS[0]), options="?form=lines")) == ("form lines", ["docs"])
    for options in ("?form=other", "?metric=other", "?count=other", "?nothing=1"):
        with pytest.raises(ConfigError):
            form(save(RECORDS, options=options))


def test_fields_are_named(save: Save) -> None:
    url = save([{"key": "a", "v": [1, 2], "body": "x", "vector": "text"}], options="?id=key&vector=v&document=body")
    records, rejected = read(url)
    assert rejected == []
    assert (records[0].id, records[0].document, records[0].metadata) == ("a", "x", {"vector": "text"})


@pytest.mark.parametrize("key", ["count", "total", "total_records"])
def test_a_header_that_counts_other_records_is_refused(save: Save, key: str) -> None:
    for value in ({key: 1177, **GET}, {key: 1177, "collections": {"a": GET, "b": GET}}):
        with pytest.raises(CorruptData, match="1,177 and holds") as caught:
            form(save(value))
        assert "count=ignore" in (caught.value.hint or "")
        assert form(save(value, options="?count=ignore"))[0] == "form columns"


TEXT = json.dumps(RECORDS)
TORN: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "is empty"),
    "white": (" \n", "is empty"),
    "cut in a vector": (TEXT[:30], "the file ends there, after 30 bytes"),
    "cut behind a record": (TEXT[: TEXT.index("}}") + 2], "'\\[' of line 1, column 1 .* never closed"),
    "cut at the last bracket": (TEXT[:-1], "never closed"),
    "cut in a string": (TEXT[:5], "string .* has no end"),
    "cut columns": (json.dumps(GET)[:60], "the file ends there"),
    "cut line": (lines(RECORDS)[:-5], "line 3, column"),
    "no number": (TEXT.replace("0.1", "0.1.1"), "line 1, column .* Expecting ',' delimiter"),
    "no comma": (TEXT.replace("}, {", "} {", 1), "expected ',' or '\\]'"),
    "two commas": (TEXT.replace("}, {", "},, {", 1), "expected a value"),
    "a comma too many": (TEXT[:-1] + ",]", "expected a value"),
    "other bracket": (TEXT[:-1] + "}", "expected ',' or '\\]'"),
    "crossed brackets": (TEXT.replace("1.0}", "1.0]"), "closes what another bracket opened"),
    "something behind": (TEXT + "x", "expected the end of the file"),
    "a list on a line": (lines([*RECORDS, []]), "line 4, column 1 .*: expected '{'"),
    "not JSON": (b"PAR1\0\0", "byte 0\\): expected '{' or '\\['"),
    "UTF-16": (TEXT.encode("utf-16"), "is UTF-16"),
    "numbers": ("[1, 2]", "a list, but not of objects"),
    "other keys": ('{"a": 1}', "it has the keys a"),
    "a query's result": ({"ids": [["a"]], "documents": [["x"]]}, "result of a query"),  # type: ignore[dict-item]
    "columns of other lengths": ({**GET, "documents": ["x"]}, "documents has 1 entries where ids has 3"),  # type: ignore[dict-item]
    "deep": ("[" * 100_000, "never closed"),
    "deep within": ('[{"id": "a", "x": ' + "[" * 100_000 + "]" * 100_000 + "}]", "."),
    "many keys": (json.dumps({str(n): {"embedding": [1]} for n in range(10_001)}), "more than 10,000 keys"),
    "torn gzip": (gzip.compress(TEXT.encode())[:-9], "cannot be unpacked"),
    "changed gzip": (gzip.compress(TEXT.encode())[:-8] + b"12345678", "cannot be unpacked"),
}


@pytest.mark.parametrize("which", TORN)
def test_what_is_torn_is_refused_when_it_is_opened(save: Save, which: str) -> None:
    value, message = TORN[which]
    with pytest.raises(CorruptData, match=message) as caught:
        open_database(save(value))
    assert "docs.json" in caught.value.message
    assert caught.value.hint


def test_a_file_cut_anywhere_is_refused(save: Save) -> None:
    for end in range(1, len(TEXT)):
        with pytest.raises(CorruptData):
            open_database(save(TEXT[:end]))


def test_records_without_ids_are_refused_by_number(save: Save) -> None:
    with pytest.raises(DataError, match=r"Record 101 of docs .* it has vector, key") as caught:
        open_database(save([*({"id": n, "vector": [1]} for n in range(100)), {"vector": [1], "key": "x"}]))
    assert "?id=NAME" in (caught.value.hint or "")


def test_a_file_that_changes_while_it_is_read_is_refused(save: Save, tmp_path: Path) -> None:
    database = open_database(save(RECORDS))
    source = database.source("docs")
    (tmp_path / "docs.json").write_text(json.dumps(RECORDS[:2]))
    with pytest.raises(CorruptData, match="changed while it was read"):
        list(source.read(source.partitions()[0]))  # type: ignore[index]
    database.close()


def test_fetch_and_existing_find_records_by_id(save: Save) -> None:
    records = [{"id": f"id-{n}", "vector": [n]} for n in range(500)]
    database = open_database(save(records))
    source: Any = database.source("docs")
    assert source.existing(["id-7", "id-499", "id-500"]) == {"id-7", "id-499"}
    found = to_records(source.fetch(["id-499", "id-64", "nobody"]), source.describe())
    assert sorted((r.id, r.vectors[""].tolist()) for r in found) == [("id-499", [499.0]), ("id-64", [64.0])]  # type: ignore[union-attr]
    database.close()


def test_every_error_says_what_to_do(save: Save) -> None:
    for value, _ in TORN.values():
        with pytest.raises(VecferryError) as caught:
            open_database(save(value))
        assert caught.value.hint
