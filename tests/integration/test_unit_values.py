"""A unit for each value of a column, whatever its type: every row is in one unit, letter by letter."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from vecferry.errors import ConfigError
from vecferry.registry import open_database
from vecferry.tables import Form
from vecferry.tables.units import unit_of
from vecferry.testing.mariadb import MariaDBDatabase
from vecferry.testing.postgres import PostgresDatabase

VECTOR = np.ones(2, "<f4").tobytes()
MARIADB = {
    "DECIMAL(6,2)": ["1.00", "1.50", "-2.00"],
    "DECIMAL(40,20)": ["12345678901234567890.12345678901234567890", "12345678901234567890.12345678901234567891"],
    "DATE": ["2024-01-01", "2024-01-02"],
    "DATETIME(3)": ["2024-01-01 00:00:00", "2024-01-01 00:00:00.001"],
    "CHAR(5)": ["a", "A", "b"],
    "VARCHAR(9)": ["", "a", "A", "a ", "ä", "x\ny", 'q"k', "b\\'", "😀"],
    "VARCHAR(9) CHARACTER SET latin1": ["a", "A", "ä"],
    "ENUM('x','Y')": ["x", "Y"],
    "SET('x','y')": ["x", "x,y", ""],
    "BIT(1)": [0, 1],
    "TIME(2)": ["10:00:00", "-01:00:00.5", "838:59:59"],
    "BIGINT UNSIGNED": [2**64 - 1, 3],
    "INT(6) ZEROFILL": [7, 12],
}
POSTGRES = {
    "numeric": ["1.0", "1.00", "2", "NaN"],
    "boolean": ["t", "f"],
    "date": ["2024-01-01", "infinity"],
    "timestamptz": ["2024-01-01 00:00:00+02", "2024-01-01 00:00:00.000001+00"],
    "interval": ["1 mon", "30 days"],
    "char(3)": ["a", "A"],
    "text": ["", "a", "A", "a ", "x\ny", 'q"k', "b\\'", "%s"],
    "text COLLATE either_case": ["a", "A"],
    "citext": ["a", "A"],
    "uuid": ["123e4567-e89b-12d3-a456-426655440000"],
    "mood": ["x", "y"],
    "inet": ["10.0.0.1", "10.0.0.1/8"],
    "point": ["(1,2)", "(1,3)"],
    "xml": ["<a/>", "<b/>"],
}


def ids_by_unit(url: str, column: str) -> list[list[int]]:
    """The ids of the rows of each unit of the only table, and every unit's total held against them."""
    with closing(open_database(url)) as database:
        (spec,) = database.collections()
        database.use(spec.qualified_name, replace(Form.from_json(spec.config["form"]), by=column))
        with closing(database.source(spec.qualified_name)) as source:
            found: dict[str | None, list[int]] = {}
            for partition in source.partitions():
                mine = found.setdefault(unit_of(partition.id), [])
                for chunk in source.read(partition):
                    mine += map(int, chunk.batch.column("id").to_pylist())
                assert partition.estimated_rows == len(mine)
    return sorted(found.values())


@pytest.mark.parametrize("kind", MARIADB)
def test_mariadb(mariadb: MariaDBDatabase, kind: str) -> None:
    mariadb.execute(f"CREATE TABLE T (id BIGINT PRIMARY KEY, u {kind}, e VECTOR(2) NOT NULL)")
    values = [*MARIADB[kind], None]
    for place, value in enumerate([*values, *values]):
        mariadb.execute("INSERT INTO T VALUES (%s, %s, %s)", (place, value, VECTOR))
    assert ids_by_unit(mariadb.url, "u") == [[place, place + len(values)] for place in range(len(values))]


@pytest.mark.parametrize("kind", ["BINARY(4)", "VARBINARY(9)", "BLOB", "FLOAT", "DOUBLE", "BIT(9)", "JSON"])
def test_what_makes_no_units_in_mariadb(mariadb: MariaDBDatabase, kind: str) -> None:
    mariadb.execute(f"CREATE TABLE T (id BIGINT PRIMARY KEY, u {kind}, e VECTOR(2) NOT NULL)")
    refused(mariadb.url, kind.lower())


@pytest.mark.parametrize("kind", ["bytea", "real", "double precision", "integer[]", "json", "jsonb", "bit(9)"])
def test_what_makes_no_units_in_postgres(postgres: PostgresDatabase, kind: str) -> None:
    postgres.execute(f"CREATE TABLE t (id bigint PRIMARY KEY, u {kind}, e vector(2) NOT NULL)")
    refused(postgres.url, kind)


def refused(url: str, kind: str) -> None:
    """Bytes and floats have no text by which one value is told from another; said before anything is read."""
    with closing(open_database(url)) as database:
        (spec,) = database.collections()
        form = replace(Form.from_json(spec.config["form"]), by="u")
        with pytest.raises(ConfigError, match=re.escape(f"'u' is a {kind}, whose values make no units")) as error:
            database.use(spec.qualified_name, form)
        assert error.value.hint == "Name a column of numbers or texts."


@pytest.mark.parametrize("kind", POSTGRES)
def test_postgres(postgres: PostgresDatabase, kind: str) -> None:
    postgres.execute("CREATE EXTENSION IF NOT EXISTS citext")
    postgres.execute("CREATE COLLATION either_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
    postgres.execute("CREATE TYPE mood AS ENUM ('x', 'y')")
    postgres.execute(f"CREATE TABLE t (id bigint PRIMARY KEY, u {kind}, e vector(2) NOT NULL)")
    values = [*POSTGRES[kind], None]
    for place, value in enumerate([*values, *values]):
        postgres.execute("INSERT INTO t VALUES (%s, %s, '[1,2]')", (place, value))
    assert ids_by_unit(postgres.url, "u") == [[place, place + len(values)] for place in range(len(values))]
