"""Filters of ours as SQL over a table, exactly or not at all. Pure.

Numbers of JSON are compared as doubles, which is exact below 2**53; texts by their bytes, whatever the collation.
Values that travel under a tag (dates, bytes, decimals) equal no scalar, as the reference evaluator has it.
"""

from __future__ import annotations

import math

import orjson

from vecferry.connectors.mariadb._codec.types import ZERO, base, is_binary, selected
from vecferry.connectors.mariadb.names import quote, text
from vecferry.errors import Unsupported
from vecferry.filters import And, Compare, Contains, Exists, Filter, Leaf, Not, OneOf, Op, Or, Scalar
from vecferry.tables import Form, Table
from vecferry.tables.envelope import COLUMN as ENVELOPE
from vecferry.tables.model import SPREAD
from vecferry.tables.types import is_int, is_json, is_text

_EXACT = 1 << 53
_HINT = "Leave this predicate out; verification does, and says so."
_NUMBERS = frozenset({"double", "float", "year", "bit"})
_OPERATORS = {Op.EQ: "=", Op.GT: ">", Op.GTE: ">=", Op.LT: "<", Op.LTE: "<="}


def where(node: Filter, table: Table, form: Form, *, own: bool) -> str:
    """The condition that `node` is.

    Raises:
        Unsupported: SQL would round, or the key stands where none looks.
    """
    match node:
        case And(parts):
            return " AND ".join(f"({where(part, table, form, own=own)})" for part in parts) or "TRUE"
        case Or(parts):
            return " OR ".join(f"({where(part, table, form, own=own)})" for part in parts) or "FALSE"
        case Not(part):
            return f"NOT ({where(part, table, form, own=own)})"
    return f"COALESCE({_leaf(node, table, form, own=own)}, FALSE)"


def _leaf(node: Leaf, table: Table, form: Form, *, own: bool) -> str:
    column = None if own else form.own.get(node.key)
    if column is not None:
        return _column(node, f"t.{quote(column)}", table.column(column).type)
    if form.metadata is None or (not own and (node.key in form.borrowed or node.key == SPREAD)):
        raise Unsupported(f"'{node.key}' is no column of '{table.name}'.", hint=_HINT)
    key = node.key if own else _json_key(node.key, form)
    return _json(node, f"t.{quote(form.metadata)}", _path(key), f"t.{quote(ENVELOPE)}" if own else None)


def _json_key(key: str, form: Form) -> str:
    """The key of the JSON column behind a key of the metadata."""
    rest = key.removeprefix(SPREAD)
    return rest if rest != key and (rest in form.keys or rest.startswith(SPREAD)) else key


def _path(key: str) -> str:
    """A JSON path to a member of the object."""
    return text("$." + orjson.dumps(key).decode())


# --------------------------------------------------------------------------- a JSON column


def _json(node: Leaf, column: str, path: str, envelope: str | None) -> str:
    value = f"JSON_EXTRACT({column}, {path})"
    kind = f"JSON_TYPE({value})"
    match node:
        case Exists():
            return f"{kind} <> 'NULL'"
        case Contains():
            raise Unsupported("MariaDB's JSON_CONTAINS looks into nested lists too.", hint=_HINT)
        case OneOf(_, values):
            found = " OR ".join(f"({_equal(value, kind, one)})" for one in values) or "FALSE"
        case Compare(_, Op.EQ, wanted):
            found = _equal(value, kind, wanted)
        case Compare(_, op, wanted):
            found = _ordered(value, kind, op, wanted)
    if envelope is None:
        return found
    tag = text("$.t." + orjson.dumps("/" + node.key.replace("~", "~0").replace("/", "~1")).decode())
    return f"({found}) AND JSON_EXTRACT({envelope}, {tag}) IS NULL"


def _equal(value: str, kind: str, wanted: Scalar) -> str:
    if isinstance(wanted, bool):
        return f"{kind} = 'BOOLEAN' AND {value} = '{str(wanted).lower()}'"
    if isinstance(wanted, str):
        return f"{kind} = 'STRING' AND BINARY JSON_UNQUOTE({value}) = BINARY {text(wanted)}"
    return _ordered(value, kind, Op.EQ, wanted)


def _ordered(value: str, kind: str, op: Op, wanted: Scalar) -> str:
    return f"{kind} IN ('INTEGER', 'DOUBLE') AND CAST({value} AS DOUBLE) {_OPERATORS[op]} {_number(wanted)}"


def _number(wanted: Scalar) -> str:
    """A number as a DOUBLE literal.

    Raises:
        Unsupported: doubles near it stand for several integers.
    """
    if isinstance(wanted, str | bool):
        return "NULL"
    if not math.isfinite(wanted) or abs(wanted) >= _EXACT:
        raise Unsupported("MariaDB compares numbers of JSON as doubles; this one is past 2**53.", hint=_HINT)
    return f"{float(wanted)!r}" if "e" in repr(float(wanted)) else f"{float(wanted)!r}e0"


# --------------------------------------------------------------------------- any other column


def _column(node: Leaf, column: str, kind: str) -> str:
    match node:
        case Exists():
            return f"{column} IS NOT NULL"
        case Contains():
            return "FALSE" if not is_json(kind) else _unsupported(kind)
        case OneOf(_, values):
            return " OR ".join(f"({_is(column, kind, Op.EQ, one)})" for one in values) or "FALSE"
        case Compare(_, op, wanted):
            return _is(column, kind, op, wanted)


def _is(column: str, kind: str, op: Op, wanted: Scalar) -> str:
    number = isinstance(wanted, int | float) and not isinstance(wanted, bool)
    if is_json(kind):
        return _unsupported(kind)
    if is_int(kind) or base(kind) in _NUMBERS:
        column = selected(kind, column)
        return f"{column} {_OPERATORS[op]} {_number(wanted)}" if number else "FALSE"
    if op is not Op.EQ or not isinstance(wanted, str):
        return "FALSE"
    if ZERO.match(wanted) and base(kind) in ("date", "datetime"):
        return f"CAST({column} AS CHAR) = {text(wanted.replace('T', ' '))}"
    return "FALSE" if not _is_text(kind) else f"BINARY CONVERT({column} USING utf8mb4) = BINARY {text(wanted)}"


def _is_text(kind: str) -> bool:
    """Its values are texts in the metadata, without a tag."""
    tagged = base(kind) in ("datetime", "timestamp", "date", "decimal", "numeric", "vector") or is_binary(kind)
    return is_text(kind) or not tagged


def _unsupported(kind: str) -> str:
    raise Unsupported(f"A column of type {kind} cannot be filtered exactly.", hint=_HINT)
