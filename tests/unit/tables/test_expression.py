"""SQL text out of a card: one piece, or nothing is done with it."""

from __future__ import annotations

import pytest

from vecferry.errors import ConfigError
from vecferry.tables.expression import MARIADB, POSTGRES, one_piece


@pytest.mark.parametrize(
    "text",
    [
        "",
        "timestamp(3) with time zone",
        "nextval('\"a;b\"'::regclass)",
        "'it''s; -- no comment'::text",
        "E'a\\'; b'::text || e'\\\\'",
        ' USING btree (lower("a;""b")) WHERE ((metadata #> \'{a,b}\'::text[]) IS NOT NULL)',
        "now() - '1 day'::interval",
        "größe > 5 AND a$b < 2",
    ],
)
def test_one_piece(text: str) -> None:
    assert one_piece(text, POSTGRES) == text


@pytest.mark.parametrize(
    "text",
    [
        "1; DROP TABLE t",
        "1 -- the rest",
        "1 /* the rest",
        "1)",
        "(1",
        "'open",
        '"open',
        "'a\\'; DROP TABLE t; --'",
        "nameE'a\\'; DROP TABLE t; --'",
        "$$'$$; DROP TABLE t",
        "1$$'$$; DROP TABLE t --'",
        "TRUE) OR (TRUE",
        "`a'` ; DROP TABLE t",
        "a\0b",
    ],
)
def test_more_than_one(text: str) -> None:
    with pytest.raises(ConfigError, match="no single piece"):
        one_piece(text, POSTGRES)


@pytest.mark.parametrize(
    "text", ["", "`group key` = 'x'", "`a;` || 'it\\'s; #'", "_utf8mb4'a' || \"b'; --\"", "a$b < 2"]
)
def test_one_piece_of_mariadb(text: str) -> None:
    assert one_piece(text, MARIADB) == text


@pytest.mark.parametrize(
    "text", ["1 # the rest", "`a'` ; DROP TABLE t", "1\"'\") + ('1", "'open", '"open', "`open", "a\0b"]
)
def test_more_than_one_of_mariadb(text: str) -> None:
    with pytest.raises(ConfigError, match="no single piece"):
        one_piece(text, MARIADB)
