"""Our own form: one record a line, within one JSON object (`json:`) or on lines alone (`jsonl:`).

    {"format":"vecferry-backup","version":2,"vecferry":"0.1.0","collections":[     {"format":…,"version":2,"vecferry":…}
    {"spec":{…},"records":[                                                         {"spec":{…}}
    {"id":"a","seq":0,"vector":[0.1,-2.0],"document":"…","metadata":{…}},           {"id":"a",…}
    {"id":"b",…}                                                                    {"id":"b",…}
    ],"count":2,"sha256":"…"}                                                       {"count":2,"sha256":"…"}
    ]}                                                                              {"collections":1}

`sha256` is that of the `spec` line as it stands in `jsonl:`, and of the record lines without the commas behind them,
each with its newline: the same in both forms. In version 1 it was that of the record lines alone; such files are read.
A float stands with the fewest digits that give back its bits; docs/reference/json-backups.md has the fields.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import orjson
import pyarrow as pa

from vecferry.arrow import column, dense, id_kinds, present, utf8
from vecferry.connectors.json._found import Form, Found
from vecferry.connectors.json._scan import BLOCK, Node
from vecferry.connectors.json._text import Text, corrupt
from vecferry.errors import Unsupported
from vecferry.model import CollectionSpec, IdKind, VectorKind, VectorSpec
from vecferry.version import __version__

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

FORMAT = "vecferry-backup"
VERSION = 2
_PROVES_SPEC = 2
"""The first version whose digest covers the description of the collection."""
_LIST = b',"records":['
_START = orjson.dumps({"format": FORMAT})[:-1] + b","
_TAKE_AGAIN = "It was cut off or changed: take the backup again, or use a copy of it."
_NEWLINE = orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY
_KEY = re.compile(rb'\{"id":("(?:[^"\\]|\\.)*")(?:,"id_kind":("\w+"))?')
_RELEASE_BYTES = 16 << 20

# --------------------------------------------------------------------------- writing


def head(*, lines: bool) -> bytes:
    """The first line of a file."""
    text = orjson.dumps({"format": FORMAT, "version": VERSION, "vecferry": __version__})
    return text + b"\n" if lines else text[:-1] + b',"collections":[\n'


def opening(spec: CollectionSpec, *, lines: bool) -> bytes:
    """The line before the records of a collection."""
    text = json.dumps({"spec": spec_to_json(spec)}, separators=(",", ":"), allow_nan=False).encode()
    return text + b"\n" if lines else text[:-1] + _LIST + b"\n"


def digest(spec: CollectionSpec) -> Hash:
    """The digest of a collection before its first record: of its description."""
    return hashlib.sha256(opening(spec, lines=True))


def closing(count: int, sha256: str, *, lines: bool) -> bytes:
    """The line behind them."""
    text = orjson.dumps({"count": count, "sha256": sha256})
    return text + b"\n" if lines else b"]," + text[1:]


def tail(collections: int, *, lines: bool) -> bytes:
    """The last line of a file."""
    return orjson.dumps({"collections": collections}) + b"\n" if lines else b"\n]}\n"


def spec_to_json(spec: CollectionSpec) -> dict[str, Any]:
    """A spec as JSON values, all its fields by name."""
    values: dict[str, Any] = msgspec.to_builtins(spec)
    return values


def encode(batch: pa.RecordBatch, spec: CollectionSpec) -> list[bytes]:
    """A line per record, each with its newline."""
    dumps, fields = orjson.dumps, list(_fields(batch, spec))
    names = [name for name, _ in fields]
    return [
        dumps({name: value for name, value in zip(names, row, strict=True) if value is not None}, option=_NEWLINE)
        for row in zip(*(values for _, values in fields), strict=True)
    ]


def _fields(batch: pa.RecordBatch, spec: CollectionSpec) -> Iterator[tuple[str, Sequence[Any]]]:
    """The fields of a record line in their order, each with its value per record; None is left out."""
    yield "id", batch.column("id").to_pylist()
    if spec.id_kind is IdKind.MIXED:
        yield "id_kind", [kind.value for kind in id_kinds(batch, spec)]
    yield "seq", batch.column("seq").to_pylist()
    if len(spec.vectors) == 1 and not spec.vectors[0].name:
        yield "vector", _cells(batch, spec.vectors[0])
    elif spec.vectors:
        columns = [(vector.name, _cells(batch, vector)) for vector in spec.vectors]
        rows = zip(*(cells for _, cells in columns), strict=True)
        yield "vectors", [_named([name for name, _ in columns], row) for row in rows]
    yield "document", batch.column("document").to_pylist()
    yield "uri", batch.column("uri").to_pylist()
    for name in ("metadata", "tags"):
        yield name, [None if text is None else orjson.Fragment(text) for text in utf8(batch, name)]


def _named(names: Sequence[str], cells: Sequence[Any]) -> dict[str, Any]:
    return {name: cell for name, cell in zip(names, cells, strict=True) if cell is not None}


def _cells(batch: pa.RecordBatch, vector: VectorSpec) -> list[Any]:
    """One vector of each record, as the JSON encoder takes it; None where a record has none."""
    if vector.kind is VectorKind.DENSE:
        values = list(np.ascontiguousarray(dense(batch, vector)))
        there = present(batch, vector)
        return values if there.all() else [one if yes else None for one, yes in zip(values, there, strict=True)]
    cells = batch.column(column(vector)).to_pylist()
    return [None if cell is None else _cell(cell, vector) for cell in cells]


def _cell(cell: Any, vector: VectorSpec) -> Any:
    if vector.kind is VectorKind.BITS:
        return base64.b64encode(cell).decode()
    if vector.kind is VectorKind.SPARSE:
        return {
            "indices": np.array(cell["indices"], np.uint32),
            "values": np.array(cell["values"], np.float32),
        }
    return np.array(cell, vector.element.value).reshape(-1, vector.dim or 0)


def key(line: bytes) -> bytes:
    """What tells a record from others: the kind and the JSON text of its id."""
    found = _KEY.match(line)
    if found is None:  # not a line that `encode` wrote
        raise ValueError(line[:40])
    return (found[2] or b"") + found[1]


def removed_keys(ids: Sequence[str], spec: CollectionSpec) -> list[bytes]:
    """The keys of records with these ids; of every kind, where a collection mixes them."""
    kinds: list[bytes] = [b""]
    if spec.id_kind is IdKind.MIXED:
        kinds = [orjson.dumps(kind.value) for kind in IdKind]
    return [kind + orjson.dumps(text) for kind in kinds for text in ids]


# --------------------------------------------------------------------------- reading


def is_ours(text: Text) -> bool:
    """Whether the file begins as one that we wrote."""
    return text.data[: len(_START)] == _START


def names_us(text: Text, node: Node) -> bool:
    """Whether a header's `format` is ours."""
    return text.data[node.start : node.end] == orjson.dumps(FORMAT)


def index(text: Text) -> list[Found]:
    """Every collection of a file of ours, each proven by its digest.

    Raises:
        CorruptData: cut off or changed; says where.
        Unsupported: written by a later version.
    """
    end = _end(text, 0)
    line = text.data[:end]
    lines = not line.endswith(b"[")
    version = _version(text, line if lines else line + b"]}")
    position, found = end + 1, list[Found]()
    while text.data[position : position + 8] == b'{"spec":':
        one, position = _collection(text, position, version, lines=lines)
        found.append(one)
        if not lines and text.data[position : position + 2] == b",\n":
            position += 2
    wanted = tail(len(found), lines=lines)
    if text.data[position:] != wanted:
        raise _broken(text, position, f"expected {wanted.decode().strip()!r} after {len(found)} collections")
    return found


def _version(text: Text, line: bytes) -> int:
    """The version of the form, from the first line as an object."""
    try:
        version = orjson.loads(line)["version"]
    except (ValueError, KeyError) as error:
        raise _broken(text, 0, "its first line is torn") from error
    if not isinstance(version, int) or version > VERSION:
        raise Unsupported(
            f"{text.path} has version {version} of the backup format; this vecferry knows {VERSION}.",
            hint="Upgrade vecferry: pip install --upgrade vecferry",
        )
    return version


def _collection(text: Text, start: int, version: int, *, lines: bool) -> tuple[Found, int]:
    """The collection whose opening line begins at `start`, and where the text goes on behind it."""
    end = _end(text, start)
    spec = _spec(text, start, end, lines=lines)
    data, release = text.data, end + _RELEASE_BYTES
    node, position, hashed = Node("\n" if lines else "[", end + 1, end + 1), end + 1, end + 1
    told = data[start : end + 1] if lines else data[start : end - len(_LIST)] + b"}\n"
    sha = hashlib.sha256(told if version >= _PROVES_SPEC else b"")
    while data[position : position + 6] == b'{"id":':
        if node.rows % BLOCK == 0:
            sha.update(_plain(data[hashed:position], lines=lines))
            hashed = position
            node.blocks.append(position)
            if position > release:
                text.release()
                release = position + _RELEASE_BYTES
        node.rows += 1
        position = _end(text, position) + 1
    sha.update(_plain(data[hashed:position], lines=lines))
    node.end = position + 1
    wanted = closing(node.rows, sha.hexdigest(), lines=lines)
    if data[position : position + len(wanted)] != wanted:
        raise _differs(text, position, spec, node.rows, lines=lines)
    found = Found(text=text, form=Form.BACKUP, name=spec.name, rows=node.rows, parts={"": node}, spec=spec)
    return found, position + len(wanted)


def _plain(piece: bytes, *, lines: bool) -> bytes:
    """Whole record lines without the commas behind them: a newline stands nowhere within a record."""
    return piece if lines else piece.replace(b"},\n", b"}\n")


def _spec(text: Text, start: int, end: int, *, lines: bool) -> CollectionSpec:
    line = text.data[start:end]
    try:
        values = json.loads(line if lines else line.removesuffix(_LIST) + b"}")
        return msgspec.convert(values["spec"], CollectionSpec)
    except (ValueError, KeyError) as error:
        raise _broken(text, start, "expected the description of a collection") from error


def _end(text: Text, start: int) -> int:
    """Where the line that begins at `start` ends."""
    end = text.data.find(b"\n", start)
    if end < 0:
        raise _broken(text, text.size, f"the line that begins at byte {start} has no end")
    return end


def _differs(text: Text, position: int, spec: CollectionSpec, rows: int, *, lines: bool) -> Exception:
    """The error for records that are not those which the closing line counts and proves."""
    if text.data[position : position + (9 if lines else 11)].lstrip(b"],{")[:7] != b'"count"':
        return _broken(text, position, f"expected a record of {spec.name}, or the line that closes it, after {rows:,}")
    return corrupt(
        text.path,
        f"was changed since it was written: the description or the {rows:,} records of {spec.name} are not those that "
        f"its closing line at {text.place(position)} counts and proves",
        _TAKE_AGAIN,
    )


def _broken(text: Text, position: int, problem: str) -> Exception:
    where = f"the file ends at byte {text.size:,}" if position >= text.size else text.place(position)
    return corrupt(text.path, f"is not whole: {where}: {problem}", _TAKE_AGAIN)


def record_lines(found: Found) -> Iterator[bytes]:
    """The record lines of a collection, without commas, each piece a number of whole lines."""
    part = found.parts[""]
    lines = part.kind == "\n"
    for block in range(len(part.blocks)):
        start, end = part.block(block)
        yield _plain(found.text.data[start:end], lines=lines)
        if block % 256 == 0:
            found.text.release()
