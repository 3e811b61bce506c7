"""Records that others wrote: which field holds what, told by their names, and one look at all of them beforehand."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vecferry.connectors.json._cells import Unfit, parsed
from vecferry.connectors.json._found import Form, Found, Row
from vecferry.connectors.json._reader import Cells, OwnReader, Reader
from vecferry.errors import DataError
from vecferry.ids import MAX_U64
from vecferry.model import CollectionSpec, IdKind, Metric, VectorKind, VectorSpec
from vecferry.tags import loads, pack

NAMES = {
    "id": ("id", "_id", "uuid", "point_id", "doc_id", "document_id"),
    "vector": ("embedding", "vector", "values", "embeddings", "vectors", "dense_vector"),
    "document": ("document", "text", "page_content", "content", "documents", "chunk"),
    "metadata": ("metadata", "payload", "metadatas", "meta", "properties"),
    "uri": ("uri", "uris"),
}
"""What a field holds -> what people call it, the likeliest first."""
METRICS = {
    **dict.fromkeys(("cosine", "cos", "angular"), Metric.COSINE),
    **dict.fromkeys(("l2", "euclid", "euclidean"), Metric.L2),
    **dict.fromkeys(("ip", "dot", "dotproduct", "inner_product"), Metric.IP),
    **dict.fromkeys(("l1", "manhattan"), Metric.L1),
}
_METRIC_KEYS = ("metric", "distance", "distance_metric", "distance_function", "space", "hnsw:space")


@dataclass(frozen=True, slots=True)
class ForeignReader(Reader):
    """Records that others wrote, field by field as JSON text.

    Attributes:
        fields: what is held -> the field's name in the file.
    """

    fields: Mapping[str, str]

    def rows(self, block: int) -> list[Row]:
        return self.found.raw(block)

    def id(self, row: Row) -> str | None:
        try:
            return identifier(row[self.fields["id"]])[0]
        except (ValueError, KeyError):
            return None

    def name(self, row: Row, number: int) -> str:
        raw = row.get(self.fields["id"])
        return f"record {number + 1}" if raw is None else _shown(raw)

    def record(self, row: Row, number: int) -> Cells:
        fields = self.fields
        text, kind = identifier(row[fields["id"]])
        found: Cells = {"id": text, "id_kind": kind.value, "seq": number}
        for name in ("document", "uri"):
            found[name] = _text(row.get(fields.get(name, "")), name)
        used = set(fields.values())
        extra = {name: raw for name, raw in row.items() if name not in used}
        found |= _metadata(row.get(fields.get("metadata", "")), extra)
        raw = row.get(fields.get("vector", ""))
        named = {} if raw is None else _objects(raw) if _is_named(raw) else {"": raw}
        return found | self.vectors({name: parsed(text) for name, text in named.items()})


def _shown(raw: bytes) -> str:
    try:
        return str(_exact(raw)).encode("utf-8", "backslashreplace").decode()
    except ValueError:
        return raw.decode("utf-8", "backslashreplace")


def identifier(raw: bytes) -> tuple[str, IdKind]:
    """The canonical text of an id, and its kind.

    Raises:
        Unfit: neither text nor a whole number, or empty.
    """
    value = parsed(raw) if raw[:1] == b'"' else loads(raw)
    if isinstance(value, str) and value:
        value.encode()  # a lone surrogate is a ValueError, and no text
        return value, IdKind.TEXT
    if type(value) is int:
        return str(value), IdKind.INT if 0 <= value <= MAX_U64 else IdKind.TEXT
    raise Unfit("its id is neither text nor a whole number")


def _text(raw: bytes | None, name: str) -> str | None:
    if raw is None:
        return None
    value = parsed(raw)
    if not isinstance(value, str):
        raise Unfit(f"its {name} is not text")
    value.encode()
    return value


def _metadata(raw: bytes | None, extra: Mapping[str, bytes]) -> dict[str, str | None]:
    """Metadata and tags. Fields of the record that are nothing else belong to it, under their own names."""
    value = None if raw is None else _exact(raw)
    if value is not None and not isinstance(value, dict):
        raise Unfit("its metadata is not an object")
    for name, text in extra.items():
        value = {} if value is None else value
        value[name if name not in value else f"record.{name}"] = _exact(text)
    if value is None:
        return {}
    text, tags = pack(value)
    return {"metadata": text.decode(), "tags": None if tags is None else tags.decode()}


def _exact(raw: bytes) -> Any:
    """One JSON value with every digit of its integers; NaN and Infinity as floats."""
    try:
        return loads(raw)
    except ValueError:
        return json.loads(raw)


def _objects(raw: bytes) -> dict[str, bytes]:
    """The values of an object, as text."""
    import msgspec

    try:
        values = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        return {name: bytes(value) for name, value in values.items() if value != b"null"}
    except msgspec.DecodeError:
        return {name: json.dumps(value).encode() for name, value in json.loads(raw).items() if value is not None}


def _is_named(raw: bytes) -> bool:
    return raw[:1] == b"{" and {"indices", "values"} != _objects(raw).keys()


# --------------------------------------------------------------------------- looking at a collection beforehand


def reader(found: Found, *, named: Mapping[str, str], metric: Metric | None) -> Reader:
    """Look at every record once: which fields there are, the kinds of ids, the dimensions; and that all of it is JSON.

    Args:
        named: what is held -> the field's name, where it is known.
        metric: of the vectors, where it is known.

    Raises:
        DataError: records without an id, by number.
        CorruptData: no JSON, with the place.
    """
    if found.spec is not None:
        return OwnReader(found, replace(found.spec, count=found.rows))
    survey = _Survey(found, named)
    for block in range(found.blocks):
        survey.add(found.raw(block), block)
        if block % 64 == 0:
            found.text.release()
    vectors = survey.vectors(metric or _metric(found))
    kinds = survey.kinds
    kind = IdKind.MIXED if len(kinds) > 1 else next(iter(kinds), IdKind.TEXT)
    spec = CollectionSpec(
        name=found.name, id_kind=kind, vectors=vectors, metadata=found.header, count=found.rows, uid=found.text.digest()
    )
    return ForeignReader(found, spec, survey.fields)


class _Survey:
    """What the records of a foreign file have in common."""

    def __init__(self, found: Found, named: Mapping[str, str]) -> None:
        self._found, self._named = found, named
        self.fields: dict[str, str] = {what: what for what in found.parts} if found.form is Form.COLUMNS else {}
        self.kinds: set[IdKind] = set()
        self._dims: dict[str, Counter[int]] = {}
        self._forms: dict[str, VectorKind] = {}

    def add(self, rows: Sequence[Row], block: int) -> None:
        if not self.fields:
            self.fields = _fields(rows, self._named)
        vector, name = self.fields.get("vector", ""), self.fields.get("id", "")
        for number, row in enumerate(rows, block * 64 + 1):
            self._add_id(row, name, number)
            raw = row.get(vector)
            if raw is not None:
                self._add_vectors(_objects(raw) if _is_named(raw) else {"": raw})

    def _add_id(self, row: Row, name: str, number: int) -> None:
        try:
            self.kinds.add(identifier(row[name])[1])
        except KeyError as error:
            raise DataError(
                f"Record {number:,} of {self._found.name} in {self._found.text.path} has no id; it has {_listed(row)}.",
                hint="Give every record an id; where the ids stand under another name, add ?id=NAME to the URL.",
            ) from error
        except ValueError:
            return  # this record alone is refused when it is read

    def _add_vectors(self, named: Mapping[str, bytes]) -> None:
        for name, raw in named.items():
            if raw[:1] not in {b"[", b"{"}:
                continue  # no vector: this record is refused when it is read
            form = self._forms.setdefault(name, _kind(raw))
            if form is VectorKind.DENSE:
                self._dims.setdefault(name, Counter())[0 if raw == b"[]" else raw.count(b",") + 1] += 1
            elif form is VectorKind.MULTI and name not in self._dims:
                value = parsed(raw)
                self._dims[name] = Counter([len(value[0]) if value and isinstance(value[0], list) else 0])

    def vectors(self, metric: Metric) -> tuple[VectorSpec, ...]:
        """The vectors, each with the dimension that most records have; one without it where there are no records."""
        if not self._found.rows:
            return (VectorSpec(metric=metric),)
        return tuple(
            VectorSpec(
                name=name,
                kind=kind,
                dim=None if kind is VectorKind.SPARSE else self._dims[name].most_common(1)[0][0],
                metric=Metric.IP if kind is VectorKind.SPARSE else metric,
            )
            for name, kind in self._forms.items()
        )


def _kind(raw: bytes) -> VectorKind:
    if raw[:1] == b"{":
        return VectorKind.SPARSE
    return VectorKind.MULTI if raw[1:].lstrip()[:1] == b"[" else VectorKind.DENSE


def _fields(rows: Iterable[Row], named: Mapping[str, str]) -> dict[str, str]:
    """What is held -> the field's name, chosen by the first records."""
    seen = {name for row in rows for name in row}
    chosen = dict(named)
    for what, names in NAMES.items():
        found = next((name for name in names if name in seen and name not in chosen.values()), None)
        if what not in chosen and found is not None:
            chosen[what] = found
    chosen.setdefault("id", "id")
    return chosen


def _listed(row: Row) -> str:
    return ", ".join(list(row)[:8]) or "no fields"


def _metric(found: Found) -> Metric:
    """What the header says, by the names that stores use; else Chroma's default for what Chroma returned."""
    for key in _METRIC_KEYS:
        metric = METRICS.get(str(found.header.get(key, "")).lower())
        if metric is not None:
            return metric
    return Metric.L2 if found.form is Form.COLUMNS else Metric.COSINE
