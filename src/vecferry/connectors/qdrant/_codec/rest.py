"""A batch as JSON for Qdrant's REST interface, and its answers back. Pure.

A request is made by one call of the JSON encoder, which reads the vectors where they lie; canonical metadata goes in as
it stands, without being parsed. Vectors come back in one call per page.

Floats are written with the fewest digits that tell a float32 from its neighbours, which is exact although Qdrant reads
them by way of a float64: that was tried for each of the 2**31 float32 values (and their negatives), see
tests/unit/qdrant/test_rest_numbers.py. They always carry a decimal point or an exponent: Qdrant 1.16 reads a
multi-vector of two rows as a sparse vector where the first row looks like integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vecferry.connectors.qdrant._codec.cells import Cells
from vecferry.connectors.qdrant._codec.form import Form, Rows
from vecferry.layouts import ENVELOPE
from vecferry.model import VectorKind, VectorSpec

REQUEST_BYTES = 5 << 19
"""JSON that one request shall hold, about. Qdrant unfolds it to several times its size before it looks at it: requests
of 5 MB cost the server a fifth more time a record than those of 1 to 3 MB, and smaller ones cost us more."""
_NUMBER_BYTES = 12
"""A float32 below 1 and its comma, about."""
_AROUND = 70
"""The id of a point, and the JSON around it, its vector and its payload."""


@dataclass(frozen=True, slots=True)
class Points:
    """Records, column by column; vectors become text when the request is made.

    Attributes:
        ids: as Qdrant takes them.
        vectors: shape (rows, dim) where every record has the one vector that there is; otherwise an array of each
            record, or its arrays by name.
        payloads: JSON objects.
        numbers: floats of a record, on average.
    """

    ids: list[int | str]
    vectors: NDArray[np.float32] | list[Any]
    payloads: list[bytes]
    numbers: int

    def __getitem__(self, part: slice) -> Points:
        """Some of them."""
        return replace(self, ids=self.ids[part], vectors=self.vectors[part], payloads=self.payloads[part])

    def sizes(self) -> list[int]:
        """Bytes of each record as JSON, about."""
        around = _AROUND + _NUMBER_BYTES * self.numbers
        return [len(payload) + around for payload in self.payloads]


def upsert(points: Points, shard: str | int | None = None) -> bytes:
    """The body of `PUT /collections/NAME/points`: by columns, which takes us less time, where Qdrant has that form."""
    if isinstance(points.vectors, np.ndarray):
        payloads = orjson.Fragment(b"[" + b",".join(points.payloads) + b"]")
        body: dict[str, Any] = {"batch": {"ids": points.ids, "vectors": points.vectors, "payloads": payloads}}
    else:
        rows = zip(points.ids, points.vectors, map(orjson.Fragment, points.payloads), strict=True)
        body = {"points": [dict(zip(("id", "vector", "payload"), row, strict=True)) for row in rows]}
    if shard is not None:
        body["shard_key"] = shard
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def points(rows: Rows, form: Form) -> Points:
    """A batch as points."""
    numbers = sum(cells.values.size for cells in rows.vectors) // max(1, len(rows.ids))
    return Points([_id(point) for point in rows.ids], _vectors(rows), _payloads(rows, form), numbers)


def _id(point: bytes) -> int | str:
    return point.decode() if len(point) == 36 else int(point)


# --------------------------------------------------------------------------- payload


def _payloads(rows: Rows, form: Form) -> list[bytes]:
    layout, envelopes = form.layout, _envelopes(rows)
    columns = [_texts(key, texts) for key, texts in rows.texts(layout)]
    if rows.lifted is not None:
        columns.append([b"" if values is None else orjson.dumps(values)[1:-1] for values in rows.lifted])
    if layout.inner_envelope:
        columns.append(_metadata(rows.metadata, layout.metadata_key, _objects(ENVELOPE, envelopes)))
    else:
        columns += [_metadata(rows.metadata, layout.metadata_key), _objects(ENVELOPE, envelopes)]
    return [b"{" + b",".join(filter(None, parts)) + b"}" for parts in zip(*columns, strict=True)]


def _texts(key: str, texts: list[bytes | None]) -> list[bytes]:
    name = orjson.dumps(key) + b":"
    return [b"" if text is None else name + orjson.dumps(text.decode()) for text in texts]


def _metadata(texts: list[bytes | None], key: str | None, inner: list[bytes] | None = None) -> list[bytes]:
    """The metadata as members of the payload; `inner` are further members of the object under `key`."""
    bodies = [None if text is None else text[1:-1] for text in texts]
    if key is None:
        return [body or b"" for body in bodies]
    if inner is not None:
        bodies = [b",".join(filter(None, parts)) for parts in zip(bodies, inner, strict=True)]
    return _objects(key, bodies)


def _objects(key: str, bodies: Sequence[bytes | None]) -> list[bytes]:
    """A column of JSON objects, each given without its braces."""
    name = orjson.dumps(key) + b":{"
    return [b"" if body is None else name + body + b"}" for body in bodies]


def _envelopes(rows: Rows) -> list[bytes | None]:
    if not rows.envelope:
        return [None] * len(rows.ids)
    columns = []
    for key, values in rows.envelope.items():
        name = orjson.dumps(key) + b":"
        columns.append([b"" if value is None else name + _value(value) for value in values])
    return [b",".join(filter(None, parts)) or None for parts in zip(*columns, strict=True)]


def _value(value: Any) -> bytes:
    return orjson.dumps(value.decode() if isinstance(value, bytes) else value)


# --------------------------------------------------------------------------- vectors


def _vectors(rows: Rows) -> NDArray[np.float32] | list[Any]:
    """What stands in `vector` of each point: the one without a name, or those that it has by name."""
    if len(rows.vectors) == 1 and not rows.vectors[0].name and rows.vectors[0].kind is not VectorKind.SPARSE:
        only = rows.vectors[0]
        if only.kind is VectorKind.DENSE and only.present.all():
            return np.ascontiguousarray(only.values)
        return [{} if value is None else value for value in _cells(only)]
    named: list[dict[str, Any]] = [{} for _ in rows.ids]
    for cells in rows.vectors:
        for vectors, value in zip(named, _cells(cells), strict=True):
            if value is not None:
                vectors[cells.name] = value
    return named


def _cells(cells: Cells) -> list[Any]:
    """One vector of each record, as the JSON encoder takes it; None where a record has none."""
    values = np.ascontiguousarray(cells.values)
    if cells.kind is VectorKind.DENSE:
        found: list[Any] = list(values)
    elif cells.kind is VectorKind.MULTI:
        found = [values[cells.share(row)] for row in range(len(cells.present))]
    else:
        assert cells.indices is not None
        shares = map(cells.share, range(len(cells.present)))
        found = [{"indices": cells.indices[share], "values": values[share]} for share in shares]
    return [value if there else None for value, there in zip(found, cells.present.tolist(), strict=True)]


# --------------------------------------------------------------------------- reading


class _Point(msgspec.Struct):
    id: int | str
    payload: msgspec.Raw = msgspec.Raw(b"null")
    vector: msgspec.Raw = msgspec.Raw(b"null")


class _Scroll(msgspec.Struct):
    points: list[_Point]
    next_page_offset: int | str | None = None


class _ScrollAnswer(msgspec.Struct):
    result: _Scroll


class _GetAnswer(msgspec.Struct):
    result: list[_Point]


_SCROLL = msgspec.json.Decoder(_ScrollAnswer)
_GET = msgspec.json.Decoder(_GetAnswer)
_NAMED = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Sparse(msgspec.Struct):
    indices: list[int]
    values: msgspec.Raw


_SPARSE = msgspec.json.Decoder(_Sparse)
_ROWS = msgspec.json.Decoder(list[msgspec.Raw])


class Page(msgspec.Struct):
    """Points as they came, vectors still as text: name -> JSON."""

    ids: list[str]
    payloads: list[dict[str, Any]]
    vectors: list[dict[str, bytes]]
    next_id: str | None = None


def scroll_page(data: bytes) -> Page:
    """The points of an answer to `points/scroll`."""
    result = _SCROLL.decode(data).result
    page = _page(result.points)
    page.next_id = None if result.next_page_offset is None else str(result.next_page_offset)
    return page


def get_page(data: bytes) -> Page:
    """The points of an answer to `points`."""
    return _page(_GET.decode(data).result)


def _page(points: list[_Point]) -> Page:
    return Page(
        ids=[str(point.id) for point in points],
        payloads=[orjson.loads(bytes(point.payload)) or {} for point in points],
        vectors=[_named(bytes(point.vector)) for point in points],
    )


def _named(text: bytes) -> dict[str, bytes]:
    if not text.startswith(b"{"):
        return {} if text == b"null" else {"": text}
    return {name: bytes(value) for name, value in _NAMED.decode(text).items()}


def cells(page: Page, vector: VectorSpec) -> Cells:
    """One vector of every point of a page, float32."""
    texts = [names.get(vector.name) for names in page.vectors]
    present = np.array([text is not None for text in texts], bool)
    if vector.kind is VectorKind.DENSE:
        values = np.zeros((len(texts), vector.dim or 0), np.float32)
        values[present] = _parse([text for text in texts if text is not None]).reshape(-1, vector.dim or 0)
        return Cells(vector.name, vector.kind, values, present)
    if vector.kind is VectorKind.MULTI:
        rows = [[] if text is None else [bytes(row) for row in _ROWS.decode(text)] for text in texts]
        values = _parse([row for share in rows for row in share]).reshape(-1, vector.dim or 1)
        return Cells(vector.name, vector.kind, values, present, _offsets([len(share) for share in rows]))
    pairs = [_Sparse([], msgspec.Raw(b"[]")) if text is None else _SPARSE.decode(text) for text in texts]
    indices = np.array([number for pair in pairs for number in pair.indices], np.uint32)
    weights = _parse([text for pair in pairs if (text := bytes(pair.values)) != b"[]"])
    return Cells(vector.name, vector.kind, weights, present, _offsets([len(pair.indices) for pair in pairs]), indices)


def _offsets(lengths: list[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _parse(lists: list[bytes]) -> NDArray[np.float32]:
    """All numbers of JSON lists of numbers, one behind the other: text to float32 in Arrow, not in Python."""
    if not lists:
        return np.empty(0, np.float32)
    joined = pa.array([text[1:-1] for text in lists], pa.large_string())
    numbers = pc.split_pattern(joined, ",").values
    values: NDArray[np.float32] = pc.cast(numbers, pa.float32()).to_numpy(zero_copy_only=False)
    return values
