"""Where texts and metadata stand in a payload: into a layout's shape, and out of it. Pure, and of no wire format.

`fit` works on the columns of a batch, `take` on one payload. Whatever a layout cannot show is noted in the envelope, so
that `take` gives back exactly what `fit` was given. A note about a value that an application has changed since says
nothing any more: the value as it stands is the record's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vecferry.layouts import ENVELOPE, Conversion, Layout
from vecferry.tags import canonical

if TYPE_CHECKING:
    from vecferry.connectors.qdrant._codec.form import Rows

Payload = dict[str, Any]
_MOVED, _TINY = 1e-12, 1e-300
"""How far Qdrant's own storage moves a float, at most; more is a change."""
_NOTHING: Mapping[str, Any] = {}


# --------------------------------------------------------------------------- into the shape


def fit(rows: Rows, layout: Layout) -> None:
    """Give the layout's reader the keys that it expects, and move those that it needs for itself."""
    if layout.conversion is not None:
        _convert(rows, layout.conversion)
    if layout.needs_document:
        for row in _nulls(rows.document):
            rows.document[row] = b""
            _note_null(rows, row, "document")
    if layout.needs_metadata or layout.metadata_key is None:
        for row in _nulls(rows.metadata):
            rows.metadata[row] = b"{}"
            _note_null(rows, row, "metadata")
    if layout.lifted or layout.extras:
        _lift(rows, layout)
    if layout.taken_keys:
        _move_collisions(rows, layout)


def _nulls(texts: list[bytes | None]) -> list[int]:
    return [row for row, text in enumerate(texts) if text is None] if None in texts else []


def _note_null(rows: Rows, row: int, what: str) -> None:
    known = rows.envelope.get("null")
    rows.note("null", row, [*((known and known[row]) or []), what])


def _convert(rows: Rows, conversion: Conversion) -> None:
    """Bring texts to where a framework looks for them; values that this would not give back are noted."""
    for row, text in enumerate(rows.document):
        if rows.metadata[row] is None:
            continue
        given, document = rows.parse(row), None if text is None else text.decode()
        beside, made = conversion.encode(document, given)
        found, back = conversion.decode(made)
        if document is not None and (beside if found is None else found) != document:
            continue  # it stays where it is
        if document is None and found is not None:
            _note_null(rows, row, "document")
        rows.document[row] = None if beside is None else beside.encode()
        if made is not given:
            rows.set_metadata(row, made)
        if back != given:
            rows.note("k", row, {key: value for key, value in given.items() if back.get(key) != value})


def _lift(rows: Rows, layout: Layout) -> None:
    """Values that stand beside the metadata object, from the metadata to the top level."""
    for row in range(len(rows.ids)):
        values = rows.parse(row)
        up = {key: values[key] for key in layout.lifted if type((values or _NOTHING).get(key)) is str}
        gone = set(up)
        extras = (values or _NOTHING).get(layout.extras_key)
        if isinstance(extras, dict) and extras and extras.keys() <= set(layout.extras) and None not in extras.values():
            up |= extras
            gone.add(layout.extras_key)
        if up:
            rows.set_metadata(row, {key: value for key, value in values.items() if key not in gone})
            rows.lift(row, up)


def text_keys(layout: Layout) -> frozenset[str]:
    """Keys of the layout's own beside the metadata, where a value of the metadata may stand that is no text."""
    plain = layout.metadata_key is None and layout.conversion is None
    return frozenset({layout.document_key, layout.uri_key}) if plain else frozenset()


def _move_collisions(rows: Rows, layout: Layout) -> None:
    """Move metadata that stands under a key of the layout's own, save what nobody takes for a text there."""
    own, texts = layout.taken_keys, text_keys(layout)
    columns = {layout.document_key: rows.document, layout.uri_key: rows.uri}
    for row in range(len(rows.ids)):
        values = rows.parse(row)
        if values is None or own.isdisjoint(values):
            continue
        stays = {key for key in texts & values.keys() if columns[key][row] is None and type(values[key]) is not str}
        if taken := (own & values.keys()) - stays:
            known = (rows.envelope.get("k") or {row: None})[row] or {}
            rows.set_metadata(row, {key: value for key, value in values.items() if key not in taken})
            rows.note("k", row, {**{key: values[key] for key in sorted(taken)}, **known})


# --------------------------------------------------------------------------- out of the shape

Texts = tuple[str | None, str | None, bytes | None, bytes | None]
"""document, uri, metadata, tags"""


def take_envelope(layout: Layout, payload: Payload) -> Mapping[str, Any]:
    """What stands in the envelope of one of our payloads, which is taken out of it."""
    holder: Any = payload
    if layout.inner_envelope:
        holder = payload.get(layout.metadata_key or "")
    return (holder.pop(ENVELOPE, None) or _NOTHING) if isinstance(holder, dict) else _NOTHING


def take(layout: Layout, payload: Payload, envelope: Mapping[str, Any], *, ours: bool) -> Texts:
    """The texts of one record; `payload`, without its envelope, is taken apart."""
    if layout.metadata_key is not None:
        return _take_nested(layout, payload, envelope)
    return _take_flat(layout, payload, envelope, ours=ours)


def _take_nested(layout: Layout, payload: Payload, envelope: Mapping[str, Any]) -> Texts:
    if not layout.fits(payload):
        return None, None, canonical(payload), None
    metadata = payload.get(layout.metadata_key or "")
    if (layout.lifted or layout.extras or "k" in envelope) and (moved := _moved(layout, payload, envelope)):
        metadata = {**(metadata or _NOTHING), **moved}
    return _finish(layout, payload.get(layout.document_key), payload.get(layout.uri_key), metadata, envelope)


def _moved(layout: Layout, payload: Payload, envelope: Mapping[str, Any]) -> Payload:
    """Metadata that stands beside the metadata object, or in the envelope."""
    beside = {key: payload[key] for key in layout.lifted if key in payload}
    extras = {key: payload[key] for key in layout.extras if payload.get(key) is not None}
    if extras:
        beside[layout.extras_key] = extras
    return {**beside, **envelope.get("k", _NOTHING)}


def _take_flat(layout: Layout, payload: Payload, envelope: Mapping[str, Any], *, ours: bool) -> Texts:
    document = None
    if layout.conversion is not None:
        document, payload = layout.conversion.decode(payload)
    if document is None and _is_text(payload, layout.document_key):
        document = payload.pop(layout.document_key)
    uri = payload.pop(layout.uri_key) if _is_text(payload, layout.uri_key) else None
    if layout.id_key is not None and _is_text(payload, layout.id_key):
        del payload[layout.id_key]  # `_ids` has seen it
    payload |= envelope.get("k", _NOTHING)
    return _finish(layout, document, uri, payload if payload or ours else None, envelope)


def _finish(
    layout: Layout, document: str | None, uri: str | None, metadata: Payload | None, envelope: Mapping[str, Any]
) -> Texts:
    absent = envelope.get("null", ())
    if "document" in absent and (layout.conversion is not None or not document):
        document = None
    if metadata is None or ("metadata" in absent and not metadata):
        return document, uri, None, None
    for pointer, text in envelope.get("f", _NOTHING).items():
        try:
            _put(metadata, pointer, float(text))
        except (LookupError, TypeError, ValueError):
            if not layout.inner_envelope:  # there it outlives the values that it is about
                raise
    tags = envelope.get("t")
    return document, uri, canonical(metadata), canonical(tags) if tags else None


def _is_text(payload: Payload, key: str) -> bool:
    return type(payload.get(key)) is str


def _put(value: Any, pointer: str, number: float) -> None:
    *path, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    for part in path:
        value = value[int(part)] if isinstance(value, list) else value[part]
    place: Any = int(last) if isinstance(value, list) else last
    now = value[place]
    if isinstance(now, int | float) and math.isclose(now, number, rel_tol=_MOVED, abs_tol=_TINY):
        value[place] = number
