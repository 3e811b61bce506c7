"""Rows straight from the connection are those that PyMySQL's own cursor gives, whatever their sizes."""

from __future__ import annotations

from contextlib import closing
from random import Random
from typing import Any

import pymysql
import pytest
from pymysql.cursors import SSCursor

from vecferry.connectors.mariadb import packets
from vecferry.connectors.mariadb.database import MariaDatabase
from vecferry.registry import open_database
from vecferry.testing.mariadb import MariaDBDatabase, MariaDBServer

SIZES = (0, 1, 250, 251, 252, 65_535, 65_536, 300_000)


@pytest.mark.parametrize("most_rows", [1, 7, 1_000])
def test_rows_are_those_of_the_cursor(mariadb: MariaDBDatabase, most_rows: int) -> None:
    random = Random(3)
    mariadb.execute("CREATE TABLE t (id INT PRIMARY KEY, a LONGBLOB, b LONGTEXT, c DOUBLE)")
    with mariadb.connect() as connection, connection.cursor() as cursor:
        for number in range(40):
            size = SIZES[number % len(SIZES)]
            blob = None if number % 11 == 5 else random.randbytes(size)
            cursor.execute("INSERT INTO t VALUES (%s, %s, %s, %s)", (number, blob, "ä" * (size // 9) or None, 1.5))
    query = "SELECT a, b, c, id, NULL FROM t ORDER BY id"
    with mariadb.connect(use_unicode=False, conv=_encoders(), cursorclass=SSCursor) as plain, plain.cursor() as cursor:
        cursor.execute(query)
        wanted = list(cursor.fetchall())
    with closing(open_database(mariadb.url)) as database:
        assert isinstance(database, MariaDatabase)
        with database._server.connection() as connection:
            found = list(packets.rows(connection, query, most_rows=most_rows, most_bytes=1 << 20))
            assert [row for part in found for row in part] == wanted
            assert all(len(part) <= most_rows for part in found)
            assert list(packets.rows(connection, "SELECT 1 FROM t WHERE FALSE", most_rows=9, most_bytes=9)) == []


def test_a_row_of_more_than_one_packet(start_mariadb: Any) -> None:
    """A packet carries less than 16 MiB; what is longer goes on in the next."""
    server: MariaDBServer = start_mariadb(settings={"max-allowed-packet": "64M"})
    with server.fresh_database() as mariadb, closing(open_database(mariadb.url)) as database:
        assert isinstance(database, MariaDatabase)
        for size in (0xFFFFFF - 5, 0xFFFFFF, 0x1FFFFFF + 3):
            with database._server.connection() as connection:
                query = f"SELECT REPEAT('x', {size}), 'behind'"
                ((row,),) = packets.rows(connection, query, most_rows=9, most_bytes=9)
                assert (len(row[0] or b""), row[1]) == (size, b"behind")


def test_a_refusal_in_the_middle_of_an_answer_is_raised(mariadb: MariaDBDatabase) -> None:
    """An error packet among the rows is no row."""
    with closing(open_database(mariadb.url)) as database:
        assert isinstance(database, MariaDatabase)
        query = "SELECT seq, IF(seq < 2000, 1, (SELECT 1 UNION SELECT 2)) FROM seq_1_to_3000"
        with database._server.connection() as connection:
            with pytest.raises(pymysql.Error, match="more than 1 row"):
                list(packets.rows(connection, query, most_rows=100, most_bytes=1 << 20))
            assert list(packets.rows(connection, "SELECT 1", most_rows=9, most_bytes=9)) == [[(b"1",)]]


def _encoders() -> Any:
    return {kind: encode for kind, encode in pymysql.converters.conversions.items() if not isinstance(kind, int)}
