"""What the columns of a table of ours cannot say, in its column `_vf`; for every SQL store. Pure.

| key        | holds                                                                                              |
|------------|----------------------------------------------------------------------------------------------------|
| `seq`      | the record's place in its source                                                                   |
| `t`        | tags of the metadata: JSON Pointer -> type (`vecferry.tags`); `tb`: base64 of them, for the store  |
|            | that would refuse the NUL in a pointer                                                             |
| `d` `u` `m`| base64 of a document, uri or metadata that the store would change; the column holds the nearest    |
| `uri`      | base64 of the uri, where the table has no column for it                                            |
| `n`        | `d`, `m`, `dm`: there is no document, no metadata, and its column holds "" or {} since it is NOT NULL |

A note about a value that somebody has changed since says nothing any more: the value as it stands is the record's.

jsonb (PostgreSQL, src/backend/utils/adt/jsonb.c and numeric.c; measured on 17) refuses NUL, has no -0.0, and writes
`1e300` as an integer of 301 digits. The last is met by writing such a number out with `.0` behind it, which it keeps.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from vecferry.ids import is_canonical_uuid, is_u64
from vecferry.model import IdKind
from vecferry.tags import canonical, loads

COLUMN = "_vf"
ESCAPE = "_vf:"
"""Begins the stored form of an id that a text column cannot hold or that would read as one of another kind."""
_NUL, _SHOWN_NUL, _NUL_ESCAPE = "\0", "\ufffd", "\\u0000"
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d[\d.]*[eE]\+?\d+|-0(?:\.0+)?(?![\d.])')
_ODD = r"\\u0000|[:,\[]-?\d[\d.]*[eE]\+?\d|[:,\[]-0\.0"
"""Finds every JSON text that jsonb changes, and some that it does not."""
_ESCAPE = re.compile(rb"\\u0000|\\.")
_LAST = 1 << 64
_TYPES: dict[str, type] = {"seq": int, "t": dict, **dict.fromkeys(("tb", "d", "u", "m", "uri", "n"), str)}


@dataclass(frozen=True, slots=True)
class Fitted:
    """The texts of a batch as a table of ours holds them; each an Arrow string array of shape (rows,).

    Attributes:
        envelope: JSON text of what goes into `_vf`, null where nothing does.
    """

    document: pa.Array
    uri: pa.Array
    metadata: pa.Array
    envelope: pa.Array


def fit(batch: pa.RecordBatch, *, jsonb: bool, nul: bool, uri: bool = True, filled: str = "") -> Fitted:
    """The texts of a canonical batch, and its envelopes.

    Args:
        jsonb: the store parses JSON; else it keeps the text.
        nul: texts may hold NUL.
        uri: the table has a column for it.
        filled: columns that hold no NULL: `d` the document, `m` the metadata.
    """
    texts = {name: _storage(batch.column(name)) for name in ("document", "uri", "metadata")}
    kept: list[pa.Array] = []
    if not uri:
        kept += _as_note(batch.column("uri"))
    kept += _absent(texts, filled)
    if not nul:
        for name, short in (("document", "d"), ("uri", "u")):
            texts[name], note = _without_nul(texts[name], short)
            kept += note
    if jsonb:
        texts["metadata"], note = _as_jsonb(texts["metadata"])
        kept += note
    tags = _storage(batch.column("tags"))
    if not nul and pc.any(holds := pc.match_substring(tags, _NUL_ESCAPE)).as_py():
        pairs = zip(tags.to_pylist(), holds.to_pylist(), strict=True)
        kept.append(pa.array([_note("tb", text.encode()) if odd else None for text, odd in pairs], pa.string()))
        tags = pc.if_else(holds, pa.scalar(None, tags.type), tags)
    return Fitted(texts["document"], texts["uri"], texts["metadata"], _envelope(batch, tags, kept))


def _storage(array: pa.Array) -> pa.Array:
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _envelope(batch: pa.RecordBatch, tags: pa.Array, kept: Sequence[pa.Array]) -> pa.Array:
    """`{"seq":…,"t":…,…}` of every record, put together from parts that may be null; null where all are."""
    parts = [_member("seq", batch.column("seq").cast(pa.string())), _member("t", tags)]
    parts += kept
    inner = pc.utf8_rtrim(pc.binary_join_element_wise(*parts, "", null_handling="replace"), ",")
    whole = pc.binary_join_element_wise("{", inner, "}", "")
    return pc.if_else(pc.equal(inner, ""), pa.scalar(None, pa.string()), whole)


def _member(key: str, values: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(f'"{key}":', values, ",", "")


def _as_note(uris: pa.Array) -> list[pa.Array]:
    if uris.null_count == len(uris):
        return []
    notes = [None if text is None else _note("uri", text.encode()) for text in uris.to_pylist()]
    return [pa.array(notes, pa.string())]


def _absent(texts: dict[str, pa.Array], filled: str) -> list[pa.Array]:
    """Fill the texts that are not there, in `texts`; the notes that say so."""
    marks = []
    for short, name, empty in (("d", "document", ""), ("m", "metadata", "{}")):
        if short in filled and texts[name].null_count:
            marks.append(pc.if_else(texts[name].is_null(), short, ""))
            texts[name] = pc.fill_null(texts[name], pa.scalar(empty, texts[name].type))
    if not marks:
        return []
    told = pc.binary_join_element_wise(*marks, "")
    return [
        pc.if_else(
            pc.equal(told, ""), pa.scalar(None, pa.string()), pc.binary_join_element_wise('"n":"', told, '",', "")
        )
    ]


def _without_nul(texts: pa.Array, short: str) -> tuple[pa.Array, list[pa.Array]]:
    if not holds_nul(texts):
        return texts, []
    values = texts.to_pylist()
    notes = [_note(short, text.encode()) if text is not None and _NUL in text else None for text in values]
    return pc.replace_substring(texts, _NUL, _SHOWN_NUL), [pa.array(notes, pa.string())]


def holds_nul(texts: pa.Array) -> bool:
    """Whether a text of the array may hold NUL; it surely does not where this is false.

    One look at the bytes of all texts together, which is many times quicker than Arrow's search in each.
    """
    width = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    _, offsets, data = texts.buffers()
    if not len(texts) or data is None:
        return False
    ends = np.frombuffer(offsets, width)[texts.offset : texts.offset + len(texts) + 1]
    held = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]]
    return bool(held.size and held.min() == 0)


def _as_jsonb(texts: pa.Array) -> tuple[pa.Array, list[pa.Array]]:
    odd = pc.match_substring_regex(texts, _ODD)
    if not pc.any(odd).as_py():
        return texts, []
    values: list[str] = texts.to_pylist()
    notes: list[str | None] = [None] * len(texts)
    for row in pc.indices_nonzero(odd.fill_null(False)).to_pylist():
        given = values[row].encode()
        made = jsonb_text(given)
        values[row] = made.decode()
        if canonical(loads(made)) != given:
            notes[row] = _note("m", given)
    return pa.array(values, texts.type), [pa.array(notes, pa.string())]


def _note(key: str, value: bytes) -> str:
    return f'"{key}":"{b64encode(value).decode()}",'


def jsonb_text(text: bytes) -> bytes:
    """JSON that jsonb takes and gives back as a value of the same type: U+FFFD for NUL, 0.0 for -0.0, no exponents."""
    return _TOKEN.sub(lambda found: _token(found[0]), text)


def _token(token: bytes) -> bytes:
    if token.startswith(b'"'):
        return _ESCAPE.sub(lambda escape: b"\\ufffd" if len(escape[0]) > 2 else escape[0], token)
    if token.startswith(b"-0") and not Decimal(token.decode()):
        return b"0.0" if b"." in token else b"0"
    return f"{Decimal(token.decode()):f}.0".encode()


# --------------------------------------------------------------------------- the way back


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of one record, as canonical as they were written. `metadata` and `tags` are canonical JSON."""

    document: str | None
    uri: str | None
    metadata: bytes | None
    tags: bytes | None
    seq: int | None


def restore(
    envelope: bytes | str, *, document: str | None, uri: str | None, metadata: bytes | None, jsonb: bool
) -> Texts:
    """The texts of a row with an envelope; `metadata` is canonical JSON of what stands in its column.

    Raises:
        ValueError: the envelope is none of ours.
    """
    notes = orjson.loads(envelope)
    if not isinstance(notes, dict) or any(type(note) is not _TYPES.get(key) for key, note in notes.items()):
        raise ValueError("an envelope is a JSON object of notes")
    tags, absent = notes.get("t"), notes.get("n", "")
    if "tb" in notes:
        tags = orjson.loads(b64decode(notes["tb"]))
    if "d" in absent and not document:
        document = None
    if "m" in absent and metadata == b"{}":
        metadata = None
    if "m" in notes and metadata is not None:
        kept = b64decode(notes["m"])
        metadata = kept if not jsonb or canonical(loads(jsonb_text(kept))) == metadata else metadata
    return Texts(
        document=_undone(document, notes.get("d")),
        uri=b64decode(notes["uri"]).decode() if uri is None and "uri" in notes else _undone(uri, notes.get("u")),
        metadata=metadata,
        tags=canonical(tags) if tags and metadata is not None else None,
        seq=notes.get("seq"),
    )


def _undone(text: str | None, note: str | None) -> str | None:
    if note is None or text is None:
        return text
    kept = b64decode(note).decode()
    return kept if kept.replace(_NUL, _SHOWN_NUL) == text else text


# --------------------------------------------------------------------------- ids


def stored_ids(ids: pa.Array, kinds: Sequence[IdKind] | None = None) -> pa.Array:
    """Ids as a text column of ours holds them: as they are, save those with NUL or that begin with `_vf:`.

    Args:
        kinds: of each, in a `mixed` collection: a text that reads as a number or UUID is escaped too.
    """
    if kinds is None and not holds_nul(ids) and not pc.any(pc.starts_with(ids, ESCAPE)).as_py():
        return ids
    texts: list[str] = ids.to_pylist()
    if kinds is None:
        return pa.array([_escaped(text, None) for text in texts], pa.string())
    return pa.array([_escaped(text, kind) for text, kind in zip(texts, kinds, strict=True)], pa.string())


def _escaped(text: str, kind: IdKind | None) -> str:
    raw = text.encode()
    other = kind is IdKind.TEXT and (is_u64(raw) or is_canonical_uuid(raw))
    return ESCAPE + b64encode(raw).decode() if other or _NUL in text or text.startswith(ESCAPE) else text


def original_id(stored: str) -> str:
    """The id that `stored_ids` made this of."""
    return b64decode(stored[len(ESCAPE) :]).decode() if stored.startswith(ESCAPE) else stored


def mixed_kind(stored: str) -> IdKind:
    """The kind of an id in a `mixed` collection, from its stored form."""
    raw = stored.encode()
    if is_u64(raw):
        return IdKind.INT
    return IdKind.UUID if is_canonical_uuid(raw) else IdKind.TEXT


def unsigned(number: int) -> int:
    """The id of a `bigint` of a table of ours: ids past 2**63 - 1 stand there as negative numbers."""
    return number if number >= 0 else number + _LAST
