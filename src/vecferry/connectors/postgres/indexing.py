"""Which indexes a table gets after its load, as SQL text. Pure.

pgvector 0.8 indexes `vector` of up to 2,000 dimensions, `halfvec` of up to 4,000, `bit` of up to 64,000 (its README,
"HNSW"); a `vector` of up to 4,000 is indexed as `halfvec`, by an expression that a query has to repeat.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vecferry.connectors.postgres.ddl import qualified, quote
from vecferry.connectors.postgres.facts import IDENTIFIER_BYTES
from vecferry.errors import ConfigError
from vecferry.model import CollectionSpec, Metric, VectorKind
from vecferry.tables import Form, Index, Table
from vecferry.tables.expression import POSTGRES, one_piece
from vecferry.tables.types import vector_type

METHODS = ("hnsw", "ivfflat", "none")
SETTINGS = {"hnsw": ("m", "ef_construction"), "ivfflat": ("lists",), "none": ()}
_MOST_DIMS = {"vector": 2_000, "halfvec": 4_000, "bit": 64_000}
_METRICS = {
    Metric.COSINE: "cosine",
    Metric.L2: "l2",
    Metric.IP: "ip",
    Metric.L1: "l1",
    Metric.HAMMING: "hamming",
    Metric.JACCARD: "jaccard",
}
_USING = " USING "
_SCHEMA = re.compile(r"(?:\w+|\"[^\"]*\")\.((?:vector|halfvec|sparsevec)\b|(?:vector|halfvec|sparsevec|bit)_\w+_ops\b)")
"""pgvector's types and operator classes with the schema that they had in the source"""


@dataclass(frozen=True, slots=True)
class Statement:
    """What makes one index: its name, and the rest of `CREATE INDEX … ON TABLE`, from `USING` on."""

    name: str
    rest: str
    unique: bool = False

    def sql(self, table: Table, name: str) -> str:
        """The statement, with a name that is free."""
        return f"CREATE {'UNIQUE ' if self.unique else ''}INDEX {quote(name)} ON {qualified(table)}{self.rest}"


def statements(
    spec: CollectionSpec, table: Table, form: Form, extension: str, *, restored: bool = False
) -> list[Statement]:
    """The indexes to build: those that the source's table had, else one per vector that can be searched by it.

    A kind of index that is asked for takes the place of those that the source had over vectors.
    """
    theirs = [index for index in table.indexes if restored and index.columns not in table.unique]
    if restored and "index" not in spec.config:
        return [again(table, index) for index in theirs]
    kept = [again(table, index) for index in theirs if index.method not in METHODS]
    return [*kept, *_vectors(spec, table, form, extension)]


def unindexed(spec: CollectionSpec, table: Table, form: Form) -> list[str]:
    """Vectors of a table of ours that get no index, each with the reason, for a person."""
    if method(spec.config) == "none":
        return []
    found = []
    for vector in spec.vectors:
        kind, dim = vector_type(table.column(form.vectors[vector.name]).type) or ("", None)
        if vector.kind is VectorKind.SPARSE:
            found.append(f"'{vector.name}' is sparse: an index takes 1,000 values a vector, and nobody looked how many")
        elif dim is not None and dim > _largest(kind):
            found.append(f"'{vector.name}' has {dim:,} dimensions, and pgvector indexes {_largest(kind):,}")
    return found


def method(config: Mapping[str, Any]) -> str:
    """The kind of index that a spec asks for.

    Raises:
        ConfigError: none that pgvector has.
    """
    wanted = str(config.get("index", "hnsw"))
    if wanted not in METHODS:
        raise ConfigError(f"index={wanted} is no index of pgvector.", hint=f"It has: {', '.join(METHODS)}.")
    return wanted


def _vectors(spec: CollectionSpec, table: Table, form: Form, extension: str) -> Iterator[Statement]:
    wanted = method(spec.config)
    settings = {key: spec.config[key] for key in SETTINGS[wanted] if key in spec.config}
    for vector in spec.vectors:
        column = form.vectors[vector.name]
        kind, dim = vector_type(table.column(column).type) or ("", None)
        if wanted == "none" or vector.kind is VectorKind.SPARSE or dim is None or dim > _largest(kind):
            continue
        narrow = kind == "vector" and dim > _MOST_DIMS["vector"]
        target, family = (
            (f"(({quote(column)}::{quote(extension)}.halfvec({dim})))", "halfvec")
            if narrow
            else (
                quote(column),
                kind,
            )
        )
        schema = "" if kind == "bit" and extension == "public" else f"{quote(extension)}."
        text = f"{target} {schema}{quote(f'{family}_{_METRICS[vector.metric]}_ops')}"
        yield Statement(short_name(f"{table.name}_{column}_{wanted}"), f"{_USING}{wanted} ({text}){_with(settings)}")


def _largest(kind: str) -> int:
    """Dimensions that an index takes of a column; those of a `vector` may be halved on the way into it."""
    return _MOST_DIMS["halfvec" if kind == "vector" else kind]


def _with(settings: Mapping[str, Any]) -> str:
    """The storage parameters of an index."""
    parts = ", ".join(f"{quote(key)} = {_setting(value)}" for key, value in settings.items())
    return f" WITH ({parts})" if parts else ""


def _setting(value: object) -> str:
    """The value of a storage parameter: a number, or a word.

    Raises:
        ConfigError: neither.
    """
    text = str(value)
    if not text.replace(".", "", 1).replace("_", "").isalnum():
        raise ConfigError(f"'{text}' is no value of an index setting.", hint="Write a number, such as m=16.")
    return text


def again(table: Table, index: Index) -> Statement:
    """An index of the source's table on the table that we make of it: its statement, from `USING` on.

    Raises:
        ConfigError: it is more than that.
    """
    opclass = f" {index.opclass}" if index.opclass and len(index.columns) <= 1 else ""
    rest = f"{index.method} ({index.expression or ', '.join(map(quote, index.columns))}{opclass})"
    hostile = f"{index.name} {table.name} {table.namespace}"
    if index.definition is not None and _USING not in hostile:
        rest = index.definition.partition(_USING)[2]
    return Statement(index.name, one_piece(_USING + _SCHEMA.sub(r"\1", rest), POSTGRES), unique=index.unique)


def short_name(name: str) -> str:
    """`name`, or as much of it as an identifier holds and a sum of the rest."""
    raw = name.encode()
    if len(raw) <= IDENTIFIER_BYTES:
        return name
    tail = "_" + hashlib.sha256(raw).hexdigest()[:8]
    return raw[: IDENTIFIER_BYTES - len(tail)].decode(errors="ignore") + tail
