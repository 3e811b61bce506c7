"""The JSON connector passes the contracts in its own forms; `seed` and `dump` go through the standard library."""

import base64
import gzip
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from vecferry.arrow import from_records, utf8
from vecferry.connectors.json import LIMITS
from vecferry.model import CollectionSpec, Element, IdKind, Record, VectorKind, VectorSpec
from vecferry.testing.contracts import SinkContract, SourceContract


def read_text(file: Path) -> str:
    data = file.read_bytes() if file.exists() else b""
    return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()


def shortest(value: np.floating[Any]) -> float:
    """The number with the fewest digits that gives the same float32 back."""
    return float(np.format_float_scientific(np.float32(value), unique=True))


def plain(vector: VectorSpec, value: Any) -> Any:
    if value is None:
        return None
    if vector.kind is VectorKind.BITS:
        return base64.b64encode(value).decode()
    if vector.kind is VectorKind.SPARSE:
        return {"indices": value[0].tolist(), "values": [shortest(one) for one in value[1]]}
    if vector.element in {Element.UINT8, Element.INT8}:
        return value.tolist()
    return json.loads(json.dumps(np.vectorize(shortest, otypes=[float])(value).tolist()))


def line(spec: CollectionSpec, record: Record) -> dict[str, Any]:
    batch = from_records(spec, [record])
    made: dict[str, Any] = {"id": record.id}
    if spec.id_kind is IdKind.MIXED:
        made["id_kind"] = record.id_kind
    vectors = {vector.name: plain(vector, record.vectors.get(vector.name)) for vector in spec.vectors}
    named = {"vector": vectors[""]} if "" in vectors else {"vectors": vectors}
    made |= {"seq": record.seq, **named, "document": record.document, "uri": record.uri}
    made |= {name: json.loads(text) for name in ("metadata", "tags") if (text := utf8(batch, name)[0]) is not None}
    return {name: value for name, value in made.items() if value is not None}


class OwnForm(SourceContract, SinkContract):
    limits = LIMITS

    def seed(self, url: str, spec: CollectionSpec, records: Sequence[Record]) -> None:
        file = Path(url.partition(":")[2])
        rows = [json.dumps(line(spec, one), separators=(",", ":"), ensure_ascii=False) for one in records]
        sha = hashlib.sha256("".join(f"{row}\n" for row in rows).encode()).hexdigest()
        end = json.dumps({"count": len(rows), "sha256": sha}, separators=(",", ":"))
        head = json.dumps({"spec": msgspec.to_builtins(spec)}, separators=(",", ":"))
        text = self.add(read_text(file), head, rows, end).encode()
        file.write_bytes(gzip.compress(text) if file.suffix == ".gz" else text)

    def add(self, old: str, head: str, rows: list[str], end: str) -> str:
        raise NotImplementedError

    def dump(self, url: str, spec: CollectionSpec) -> list[Record]:
        file = Path(url.partition(":")[2])
        rows: dict[str, dict[str, Any]] = {}
        for row in (*self.rows(read_text(file), spec.name), *journal_rows(file, spec.name)):
            if "removed" in row:
                rows = {key: value for key, value in rows.items() if key not in row["removed"]}
            else:
                rows[row["id"]] = row
        return [
            Record(
                id=row["id"],
                vectors={"": np.array(row["vector"], np.float32)},
                document=row.get("document"),
                uri=row.get("uri"),
                metadata=row.get("metadata"),
            )
            for row in rows.values()
        ]

    def rows(self, text: str, name: str) -> Iterator[dict[str, Any]]:
        raise NotImplementedError


def journal_rows(file: Path, name: str) -> Iterator[dict[str, Any]]:
    journal = file.with_name(f"{file.name}.journal")
    wanted = False
    for text in journal.read_text().splitlines() if journal.exists() else ():
        values = json.loads(text)
        if "op" in values:
            wanted = values.get("collection") == [name]
            if wanted and values["op"] == "remove":
                yield {"removed": values["ids"]}
        elif wanted:
            yield values


class TestJson(OwnForm):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"json:{tmp_path}/backup.json"

    def add(self, old: str, head: str, rows: list[str], end: str) -> str:
        body = (
            old.removesuffix("\n]}\n") + ",\n" if old else '{"format":"vecferry-backup","version":1,"collections":[\n'
        )
        return body + f'{head[:-1]},"records":[\n' + ",\n".join(rows) + ("\n" if rows else "") + f"],{end[1:]}\n]}}\n"

    def rows(self, text: str, name: str) -> Iterator[dict[str, Any]]:
        for one in json.loads(text)["collections"] if text else ():
            if one["spec"]["name"] == name:
                yield from one["records"]


class TestJsonLinesPacked(OwnForm):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"jsonl:{tmp_path}/backup.jsonl.gz"

    def add(self, old: str, head: str, rows: list[str], end: str) -> str:
        body = old[: old.rstrip("\n").rindex("\n") + 1] if old else '{"format":"vecferry-backup","version":1}\n'
        number = sum(text.startswith('{"spec":') for text in body.splitlines()) + 1
        return body + "".join(
            f"{row}\n" for row in (head, *rows, end, json.dumps({"collections": number}, separators=(",", ":")))
        )

    def rows(self, text: str, name: str) -> Iterator[dict[str, Any]]:
        wanted = False
        for values in map(json.loads, text.splitlines()):
            if "spec" in values:
                wanted = values["spec"]["name"] == name
            elif wanted and "id" in values:
                yield values
