"""PostgREST's query language as SQL, as much of it as the double knows. Pure.

`select=id,text:body::text`, `id=gt.5`, `or=(a.gt.1,and(a.eq.1,b.gt."x,y"))`, `order=a.asc,b.desc`, `limit`, `offset`.
By PostgREST's documentation (Tables and Views: Horizontal and Vertical Filtering, Ordering, Reserved Characters).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

from psycopg import sql

OPERATORS = {"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "cs": "@>", "like": "LIKE"}
_IS = {"null": "NULL", "true": "TRUE", "false": "FALSE"}
_RESERVED = frozenset({"select", "order", "limit", "offset"})
_NAME = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s,.:()"]+')
_SELECTED = re.compile(rf"(?:(?P<alias>{_NAME.pattern}):)?(?P<column>{_NAME.pattern})(?:::(?P<cast>[a-z0-9_ ]+))?")
_DIRECTIONS = {"asc": "ASC", "desc": "DESC", "nullsfirst": "NULLS FIRST", "nullslast": "NULLS LAST"}


class ParseError(ValueError):
    """The query is not PostgREST's, or the double does not know that part of it (PGRST100)."""


@dataclass(frozen=True, slots=True)
class Query:
    """What a request asks of one table; `limit` is None where it names none."""

    columns: sql.Composable
    where: sql.Composable
    order: sql.Composable
    limit: int | None
    offset: int


def parse(pairs: Sequence[tuple[str, str]]) -> Query:
    """The query that the decoded parameters of a URL make.

    Raises:
        ParseError: see there.
    """
    given = dict(pairs)
    conditions = [_condition(name, value) for name, value in pairs if name not in _RESERVED]
    return Query(
        columns=_columns(given.get("select", "*")),
        where=sql.SQL(" WHERE {}").format(sql.SQL(" AND ").join(conditions)) if conditions else sql.SQL(""),
        order=_order(given["order"]) if given.get("order") else sql.SQL(""),
        limit=_whole(given["limit"]) if "limit" in given else None,
        offset=_whole(given.get("offset", "0")),
    )


def _whole(text: str) -> int:
    return int(text) if text.isdigit() else _refuse(text)


def _columns(text: str) -> sql.Composable:
    return sql.SQL(", ").join([_selected(part) for part in _parts(text)])


def _selected(text: str) -> sql.Composable:
    if text == "*":
        return sql.SQL("*")
    found = _SELECTED.fullmatch(text)
    if found is None:
        _refuse(text)
    column = _bare(found["column"])
    cast = sql.SQL("CAST({} AS {})").format(sql.Identifier(column), sql.SQL(found["cast"])) if found["cast"] else None
    return sql.SQL("{} AS {}").format(cast or sql.Identifier(column), sql.Identifier(_bare(found["alias"] or column)))


def _order(text: str) -> sql.Composable:
    terms = []
    for part in _parts(text):
        found = _NAME.match(part)
        words = part[found.end() :].split(".")[1:] if found else []
        if found is None or not set(words) <= _DIRECTIONS.keys():
            _refuse(part)
        directions = [sql.SQL(_DIRECTIONS[word]) for word in words]
        terms.append(sql.SQL(" ").join([sql.Identifier(_bare(found[0])), *directions]))
    return sql.SQL(" ORDER BY {}").format(sql.SQL(", ").join(terms))


def _condition(name: str, value: str) -> sql.Composable:
    if name in {"or", "and"}:
        return _logic(name, value)
    return _comparison(_bare(name), value, quoted=False)


def _logic(name: str, value: str) -> sql.Composable:
    if not (value.startswith("(") and value.endswith(")")):
        _refuse(value)
    terms = [_term(part) for part in _parts(value[1:-1])]
    return sql.SQL("({})").format(sql.SQL(f" {name.upper()} ").join(terms))


def _term(text: str) -> sql.Composable:
    for name in ("or", "and"):
        if text.startswith(f"{name}("):
            return _logic(name, text.removeprefix(name))
    found = _NAME.match(text)
    if found is None or not text[found.end() :].startswith("."):
        _refuse(text)
    return _comparison(_bare(found[0]), text[found.end() + 1 :], quoted=True)


def _comparison(column: str, text: str, *, quoted: bool) -> sql.Composable:
    """`gt.5`; values stand in quotes only where they are `quoted`, inside of a logical operator or a list."""
    negated = text.startswith("not.")
    operator, dot, value = text.removeprefix("not.").partition(".")
    if not dot:
        _refuse(text)
    name = sql.Identifier(column)
    if operator == "is" and value in _IS:
        made: sql.Composable = sql.SQL("{} IS {}").format(name, sql.SQL(_IS[value]))
    elif operator == "in" and value.startswith("(") and value.endswith(")"):
        values = [sql.Literal(_bare(part)) for part in _parts(value[1:-1])]
        made = sql.SQL("{} IN ({})").format(name, sql.SQL(", ").join(values))
    elif operator in OPERATORS:
        literal = sql.Literal(_bare(value) if quoted else value)
        made = sql.SQL("{} {} {}").format(name, sql.SQL(OPERATORS[operator]), literal)
    else:
        _refuse(text)
    return sql.SQL("NOT ({})").format(made) if negated else made


def _parts(text: str) -> Iterator[str]:
    """`text` taken apart at its commas outside of brackets and quotes."""
    depth, quoted, begin = 0, False, 0
    at = 0
    while at < len(text):
        sign = text[at]
        if quoted and sign == "\\":
            at += 1
        elif sign == '"':
            quoted = not quoted
        elif not quoted and sign in "()":
            depth += 1 if sign == "(" else -1
        elif not quoted and depth == 0 and sign == ",":
            yield text[begin:at]
            begin = at + 1
        at += 1
    yield text[begin:]


def _bare(text: str) -> str:
    """A name or value without its quotes."""
    if len(text) > 1 and text.startswith('"') and text.endswith('"'):
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text


def _refuse(text: str) -> NoReturn:
    raise ParseError(f'"failed to parse ({text})" (line 1, column 1)')
