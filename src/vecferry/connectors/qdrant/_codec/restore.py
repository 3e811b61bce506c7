"""Points back into canonical records: the way back of `form`. Pure, and of no wire format.

A payload that does not have its layout's shape (another program wrote it) is read as metadata as a whole, without
document, so that nothing of it is lost.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecferry import arrow
from vecferry.connectors.qdrant._codec import norms
from vecferry.connectors.qdrant._codec.cells import Cells, dtype, to_column
from vecferry.connectors.qdrant._codec.form import Form, as_stored, kept_name, told
from vecferry.connectors.qdrant._codec.shape import Payload, take, take_envelope
from vecferry.errors import CorruptData
from vecferry.layouts import ENVELOPE
from vecferry.model import IdKind, VectorKind, VectorSpec

_NOTHING: Mapping[str, Any] = {}
_ALIKE = 0.999
"""Cosine between a vector and what Qdrant made of it, at least: float16 of 65,536 small components included."""


def batch(
    form: Form, points: Sequence[str], payloads: Sequence[Payload], vectors: Mapping[str, Cells]
) -> pa.RecordBatch:
    """A canonical batch of points.

    Args:
        points: point ids as text.
        payloads: Python objects; they are taken apart.
        vectors: name in Qdrant -> cells, for `form.read_vectors`.

    Raises:
        CorruptData: an envelope that we did not write.
    """
    envelopes = [take_envelope(form.layout, payload) if form.ours else _NOTHING for payload in payloads]
    with trusted(form, points):
        columns = _ids(form, points, payloads, envelopes)
        columns |= _texts(form, payloads, envelopes)
        for vector in form.spec.vectors:
            columns[arrow.column(vector)] = to_column(vector, _vector(form, vector, vectors, envelopes))
        return arrow.build(form.spec, columns)


@contextmanager
def trusted(form: Form, points: Sequence[str]) -> Iterator[None]:
    """What is wrong with an envelope of these points, named.

    Raises:
        CorruptData: an envelope that we did not write.
    """
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise CorruptData(
            f"A point of {form.spec.name} carries a '{ENVELOPE}' that vecferry did not write: {error}.",
            ids=[points[0]] if points else [],
            hint=f"Between points {points[0]} and {points[-1]}, remove or restore the payload key '{ENVELOPE}'.",
        ) from error


def _ids(
    form: Form, points: Sequence[str], payloads: Sequence[Payload], envelopes: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    if (key := form.layout.id_key) is None:
        rows = [row for row, envelope in enumerate(envelopes) if "id" in envelope]
        claims = [envelopes[row]["id"] for row in rows]
    else:
        rows = [row for row, payload in enumerate(payloads) if type(payload.get(key)) is str]
        claims = [payloads[row][key] for row in rows]
    kinds = [envelopes[row].get("kind") for row in rows]
    columns: dict[str, Any] = {
        "id": original_ids(form, points, rows, claims, kinds),
        "seq": [envelope.get("seq") for envelope in envelopes],
    }
    if form.spec.id_kind is IdKind.MIXED:
        columns["id_kind"] = [
            envelope.get("kind") or told(point).value for point, envelope in zip(points, envelopes, strict=True)
        ]
    return columns


def original_ids(
    form: Form, points: Sequence[str], rows: Sequence[int], claims: Sequence[str], kinds: Sequence[str | None]
) -> list[str]:
    """The id that each of `rows` claims; a point's own where another record's envelope was copied onto it."""
    ids = list(points)
    for row, claim, place in zip(rows, claims, form.places(claims, kinds), strict=True):
        if place == points[row]:
            ids[row] = claim
    return ids


# --------------------------------------------------------------------------- texts


def _texts(form: Form, payloads: Sequence[Payload], envelopes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    pairs = zip(payloads, envelopes, strict=True)
    rows = [take(form.layout, payload, envelope, ours=form.ours) for payload, envelope in pairs]
    documents, uris, metadata, tags = zip(*rows, strict=True) if rows else ((), (), (), ())
    return {"document": documents, "uri": uris, "metadata": metadata, "tags": tags}


# --------------------------------------------------------------------------- vectors


def _vector(
    form: Form, vector: VectorSpec, vectors: Mapping[str, Cells], envelopes: Sequence[Mapping[str, Any]]
) -> Cells:
    if vector not in form.scaled:
        cells = vectors[vector.name]
        cells.values = cast(cells.values, vector)
    elif form.keeps_bits:
        cells = vectors[kept_name(vector.name)]
        cells.values = cast(cells.values, vector)
    else:
        cells = _unscaled(form, vector, vectors[vector.name], envelopes)
    if vector.kind is VectorKind.MULTI:
        for row, envelope in enumerate(envelopes):
            if vector.name in envelope.get("empty", ()):
                cells.present[row] = True
    return cells


def cast(values: NDArray[Any], vector: VectorSpec) -> NDArray[Any]:
    """Numbers from the wire as those of the vector's own type."""
    kind = dtype(vector)
    return values.astype(kind, copy=False) if kind.kind == "f" else np.rint(values).astype(kind)


def _unscaled(form: Form, vector: VectorSpec, cells: Cells, envelopes: Sequence[Mapping[str, Any]]) -> Cells:
    lengths = np.ones(len(cells.values), np.float64)
    kept: list[tuple[int, str]] = []
    for row, envelope in enumerate(envelopes):
        told_length = envelope.get("n")
        if told_length is not None:
            told_length = told_length if form.one_length else told_length.get(vector.name, 1.0)
            lengths[cells.share(row)] = numbers(told_length)
        if "v" in envelope and vector.name in envelope["v"]:
            kept.append((row, envelope["v"][vector.name]))
    return unscaled(vector, cells, lengths, kept)


def unscaled(vector: VectorSpec, cells: Cells, lengths: NDArray[np.float64], kept: Sequence[tuple[int, str]]) -> Cells:
    """Vectors with their lengths put back, of shape (values,); `kept` are rows whose bits were noted, in base64."""
    values = norms.unscale(as_stored(cells.values, vector), lengths, dtype(vector))
    for row, text in kept:
        share = cells.share(row)
        original = np.frombuffer(base64.b64decode(text, validate=True), dtype(vector).newbyteorder("<"))
        original = original.reshape(values[share].shape)
        if _same_direction(original, values[share]):  # else the vector was written anew, and the note is an old one's
            values[share] = original
    return cells.renamed(vector.name, values)


def _same_direction(original: NDArray[Any], restored: NDArray[Any]) -> bool:
    """True where `original` may be what `restored` was: each row points the same way, or has no length to tell by."""
    ours, theirs = original.astype(np.float64), restored.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(ours, axis=-1) * np.linalg.norm(theirs, axis=-1)
        cosine = (ours * theirs).sum(axis=-1) / np.where(lengths > 0, lengths, 1)
    return bool(np.all((cosine > _ALIKE) | (lengths == 0) | ~np.isfinite(cosine)))


def numbers(told_length: Any) -> Any:
    """A length, or the list of lengths of a multi-vector; those that JSON cannot say exactly are text."""
    return [float(item) for item in told_length] if isinstance(told_length, list) else float(told_length)
