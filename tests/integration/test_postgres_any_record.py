"""Any collection of any records, written and read back: what `expect` foretold, bit for bit."""

from __future__ import annotations

import itertools
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings

from vecferry.arrow import from_records, to_records, validate
from vecferry.errors import DataError
from vecferry.model import CollectionSpec, Element, Record, VectorKind
from vecferry.registry import open_database
from vecferry.testing import strategies as vst
from vecferry.testing.contracts.base import read_all
from vecferry.testing.contracts.cases import target
from vecferry.testing.contracts.compare import assert_same
from vecferry.testing.postgres import PostgresServer

_NAMES = itertools.count()


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer):
    with postgres_server.fresh_database() as fresh, closing(open_database(fresh.url)) as database:
        yield database


def held(spec: CollectionSpec) -> CollectionSpec:
    """`spec` with vectors of types that a table has: what a plan makes of it."""
    vectors = [v for v in spec.vectors if v.kind is not VectorKind.MULTI and (v.kind, v.dim) != (VectorKind.BITS, 1)]
    return replace(
        spec,
        name=f"any-{next(_NAMES)}",
        namespace=(),
        vectors=tuple(
            replace(v, element=Element.FLOAT32)
            if v.kind is VectorKind.DENSE and v.element is not Element.FLOAT16
            else v
            for v in vectors
        ),
    )


def fitting(records: list[Record], spec: CollectionSpec) -> list[Record]:
    """`records` with those of their vectors alone that `spec` has, in its number types."""
    names = {vector.name: vector for vector in spec.vectors}
    made = []
    for record in records:
        vectors = {}
        for name, vector in names.items():
            value = record.vectors.get(name)
            dense = vector.kind is VectorKind.DENSE and value is not None
            vectors[name] = value.astype(vector.element.value) if dense else value
        made.append(replace(record, vectors=vectors))
    return made


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(drawn=vst.collections())
def test_any_record_comes_back(database, drawn):
    spec, records = held(drawn[0]), drawn[1]
    records = fitting(records, spec)
    batch = from_records(spec, records)
    try:
        validate(batch, spec)
    except DataError:
        assume(False)
    spec = target(spec)
    with closing(database.sink(spec)) as sink:
        sink.prepare(spec)
        expected = to_records(sink.expect(batch), spec)
        receipt = sink.write(batch)
        sink.write(batch)
        refused = {rejection.id for rejection in receipt.rejected}
        assert all("indices past" in rejection.reason for rejection in receipt.rejected)
    with closing(database.source(f"public/{spec.name}")) as source:
        assert_same([record for record in expected if record.id not in refused], read_all(source))
    database.drop(spec.name)
