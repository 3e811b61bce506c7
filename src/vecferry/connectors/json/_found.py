"""A collection as it stands in a JSON text: where its records are, and its records as raw JSON by field."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from vecferry.connectors.json._scan import Node, elements
from vecferry.connectors.json._text import Text
from vecferry.model import CollectionSpec

Row = dict[str, bytes]
"""A record: field -> its JSON text. Fields that are null are left out."""

_ROWS = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_ROW = msgspec.json.Decoder(dict[str, msgspec.Raw])
_CELLS = msgspec.json.Decoder(list[msgspec.Raw])
_NULL = b"null"
_BETWEEN = b", \t\r\n"


class Form(StrEnum):
    """How a file holds its records."""

    BACKUP = "backup"
    """ours (docs/reference/json-backups.md)"""
    COLUMNS = "columns"
    """lists side by side: `ids`, `embeddings`, `documents`, `metadatas`: what Chroma's `get()` returns"""
    RECORDS = "records"
    """a list of objects"""
    LINES = "lines"
    """an object a line"""


@dataclass(frozen=True, slots=True)
class Claim:
    """`key` of a header says that there are `said` records in `what`; there are `rows`."""

    key: str
    said: int
    rows: int
    what: str


@dataclass(slots=True, kw_only=True)
class Found:
    """One collection of a file.

    Attributes:
        parts: where the records are: column -> list for `columns`, else the one list under "".
        header: what stands beside the records: `export_date`, the collection's own metadata and the like.
        claims: what headers say about numbers of records, to be compared with what is there.
        spec: as our own form states it; None in others.
    """

    text: Text
    form: Form
    name: str
    rows: int
    parts: Mapping[str, Node]
    header: dict[str, Any] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)
    spec: CollectionSpec | None = None

    @property
    def blocks(self) -> int:
        """Blocks of 64 records, the last perhaps shorter."""
        return max((len(part.blocks) for part in self.parts.values()), default=0)

    def size(self, block: int) -> int:
        """Bytes of one block."""
        spans = (part.block(block) for part in self.parts.values())
        return sum(end - start for start, end in spans)

    def raw(self, block: int) -> list[Row]:
        """The records of one block.

        Raises:
            CorruptData: no JSON, with the place; or the file was changed since it was opened.
        """
        if self.form is Form.COLUMNS:
            self.text.check()
            return self._columns(block)
        try:
            return [_row(row) for row in _ROWS.decode(self.joined(block))]
        except (msgspec.DecodeError, RecursionError):
            start, end = self.parts[""].block(block)
            return [self._mended(start + at, raw) for at, raw in self._each(self.text.data[start:end])]

    def joined(self, block: int) -> bytes:
        """A block of records as one JSON list; not for `columns`."""
        self.text.check()
        start, end = self.parts[""].block(block)
        piece = self.text.data[start:end]
        if self._is_list:
            return b"[" + piece.rstrip(_BETWEEN) + b"]"
        return b"[" + b",".join(filter(None, map(bytes.strip, piece.split(b"\n")))) + b"]"

    def lines(self, block: int) -> list[bytes]:
        """The record lines of a block of our own form, without what stands behind them."""
        self.text.check()
        start, end = self.parts[""].block(block)
        return [line.rstrip(b",") for line in self.text.data[start:end].split(b"\n") if line]

    @property
    def _is_list(self) -> bool:
        return self.parts[""].kind == "["

    def _each(self, piece: bytes) -> Iterator[tuple[int, bytes]]:
        """Each record of a block, with where it begins in it."""
        if self._is_list:
            yield from ((start, piece[start:end]) for start, end in elements(piece))
            return
        position = 0
        for line in piece.split(b"\n"):
            if line.strip():
                yield position, line
            position += len(line) + 1

    def _mended(self, start: int, raw: bytes) -> Row:
        """One record that the strict parser refused: NaN and lone surrogates are read as Python's json reads them."""
        try:
            return _row(_ROW.decode(raw))
        except (msgspec.DecodeError, RecursionError):
            values = loads(self.text, start, raw)
        if not isinstance(values, dict):
            raise self.text.malformed(start, "expected an object")
        return {name: json.dumps(value).encode() for name, value in values.items() if value is not None}

    def _columns(self, block: int) -> list[Row]:
        columns = [self._cells(*part.block(block)) for part in self.parts.values()]
        return [
            {name: cell for name, cell in zip(self.parts, cells, strict=True) if cell != _NULL}
            for cells in zip(*columns, strict=True)
        ]

    def _cells(self, start: int, end: int) -> Iterable[bytes]:
        """The elements of one column in one block."""
        piece = b"[" + self.text.data[start:end].rstrip(_BETWEEN) + b"]"
        try:
            return [bytes(cell) for cell in _CELLS.decode(piece)]
        except (msgspec.DecodeError, RecursionError):
            return [json.dumps(value).encode() for value in loads(self.text, start - 1, piece)]


def _row(row: Mapping[str, msgspec.Raw]) -> Row:
    cells = ((name, bytes(cell)) for name, cell in row.items())
    return {name: cell for name, cell in cells if cell != _NULL}


def loads(text: Text, start: int, raw: bytes) -> Any:
    """A piece of the text by Python's own parser, which knows NaN and Infinity, and says where it stopped.

    Raises:
        CorruptData: no JSON; with the place.
    """
    try:
        return json.loads(raw)
    except UnicodeDecodeError as error:
        raise text.malformed(start + error.start, "bytes that are not UTF-8") from error
    except json.JSONDecodeError as error:
        raise text.malformed(start + len(error.doc[: error.pos].encode()), error.msg) from error
    except (RecursionError, ValueError) as error:
        raise text.malformed(start, f"{error}") from error
