"""The archive format without I/O: batches to Parquet bytes and back, specs to JSON and back, safe names, sums."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vecferry.arrow import build, column
from vecferry.digest import digests
from vecferry.errors import CorruptData, Unsupported
from vecferry.model import CollectionSpec, Element, VectorKind

FORMAT = "vecferry-archive"
VERSION = 1
PART_BYTES = 32 << 20
"""A write is split into parts of at most about this much, so that a reader can hold one in memory."""
DIGEST_KEY = b"vecferry archive 1"
"""Public on purpose: anybody can compute an archive's record digest and compare two archives by it."""
_MODULUS = 1 << 256
_TEXT_COLUMNS = ["document", "uri", "metadata", "tags"]
_UNSAFE = re.compile(r"[^a-z0-9]+")
FOLDER = re.compile(r"[a-z0-9-]{1,60}-[0-9a-f]{16}")
PART = re.compile(r"part-[0-9]{8}-[0-9a-f]{8}\.parquet")
COLLECTION = re.compile(r"collection-[0-9]{6}\.json")


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One Parquet file: its name in the collection's folder, records, bytes, and what proves it whole.

    `digest` is the sum, modulo 2**256, of the record digests (`vecferry.digest`, key `DIGEST_KEY`) as big-endian hex.
    """

    file: str
    rows: int
    bytes: int
    sha256: str
    digest: str


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """A journal entry: records with these ids that stand before it are gone."""

    removed: tuple[str, ...]


Entry = Part | Removed


def folder_name(path: tuple[str, ...]) -> str:
    """A folder for a collection: harmless on every file system, whatever the collection is called."""
    slug = _UNSAFE.sub("-", path[-1].lower()).strip("-")[:40].strip("-") or "collection"
    return f"{slug}-{hashlib.sha256(json.dumps(path).encode()).hexdigest()[:16]}"


def to_parquet(batch: pa.RecordBatch, spec: CollectionSpec) -> pa.Buffer:
    """The bytes of a part file. JSON columns become plain strings, which every reader knows."""
    arrays = [_storage(array) for array in batch.columns]
    table = pa.Table.from_arrays(arrays, names=batch.schema.names)
    out = pa.BufferOutputStream()
    pq.write_table(
        table,
        out,
        compression="zstd",
        compression_level=1,
        use_dictionary=_TEXT_COLUMNS,
        write_statistics=False,
        write_page_checksum=True,
        use_byte_stream_split=_split_columns(spec),
        row_group_size=max(1, table.num_rows),
    )
    return out.getvalue()


def _storage(array: pa.Array) -> pa.Array:
    if isinstance(array, pa.ExtensionArray):
        return array.storage
    empty = pa.types.is_fixed_size_list(array.type) and array.type.list_size == 0
    return pa.nulls(len(array)) if empty else array  # Parquet has no vectors of dimension 0


def _split_columns(spec: CollectionSpec) -> list[str]:
    """Columns whose floats compress better with their bytes sorted by significance."""
    return [
        f"{column(vector)}.list.element"
        for vector in spec.vectors
        if vector.kind is VectorKind.DENSE and vector.element is Element.FLOAT32 and vector.dim
    ]


def from_parquet(data: pa.Buffer, spec: CollectionSpec, *, rows: int) -> Iterator[pa.RecordBatch]:
    """Canonical batches of about `rows` rows from the bytes of a part file.

    Raises:
        ValueError: not Parquet, or other columns than `spec` has (pyarrow's errors are subclasses of it).
    """
    for batch in pq.ParquetFile(pa.BufferReader(data)).iter_batches(batch_size=rows, use_threads=False):
        columns = zip(batch.schema.names, batch.columns, strict=True)
        yield build(spec, {name: array for name, array in columns if not pa.types.is_null(array.type)})


def digest_sum(batch: pa.RecordBatch, spec: CollectionSpec) -> int:
    """The sum of the digests of all records, modulo 2**256: the same in whatever order and files they stand."""
    words = digests(batch, spec, key=DIGEST_KEY).view(">u4").astype(np.uint64).sum(axis=0)
    return sum(int(word) << (32 * (7 - place)) for place, word in enumerate(words)) % _MODULUS


def add(parts: Iterator[Part]) -> str:
    """The digest of several parts together."""
    return to_hex(sum(int(part.digest, 16) for part in parts) % _MODULUS)


def to_hex(digest: int) -> str:
    """A digest sum as 64 hex digits."""
    return f"{digest:064x}"


def spec_to_json(spec: CollectionSpec) -> dict[str, Any]:
    """A spec as JSON values, all its fields by name."""
    values: dict[str, Any] = msgspec.to_builtins(spec)
    return values


def spec_from_json(values: Mapping[str, Any]) -> CollectionSpec:
    """The spec that `spec_to_json` was given.

    Raises:
        msgspec.ValidationError: not a spec.
    """
    return msgspec.convert(values, CollectionSpec)


def dump_json(values: Mapping[str, Any]) -> bytes:
    """The text of a manifest: indented for people, integers of any size."""
    return (json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def load_json(text: bytes, file: str) -> dict[str, Any]:
    """The values of a manifest.

    Raises:
        CorruptData: not JSON, or not a manifest of ours.
        Unsupported: written by a later version.
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        raise corrupt(file, "is not JSON") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT or not isinstance(values.get("version"), int):
        raise corrupt(file, f"is not a manifest of a {FORMAT}")
    if values["version"] > VERSION:
        raise Unsupported(
            f"{file} has version {values['version']} of the archive format; this vecferry knows {VERSION}.",
            hint="Upgrade vecferry: pip install --upgrade vecferry",
        )
    return values


def corrupt(file: str, problem: str) -> CorruptData:
    """The error for a file that is not what the manifest says."""
    return CorruptData(
        f"{file} {problem}.", hint="Restore the file from a copy, or write the archive anew from its source.", file=file
    )
