"""The filter tree as SQL, over columns and over the JSON column. Pure.

Meaning as in `vecferry.filters`: a comparison never matches a missing key, a null, a list or another type; 1 == 1.0,
and a boolean is no number. What SQL leaves unknown counts as "does not match", `NOT` included. Values that carry a tag
in the metadata (dates, decimals, bytes) equal no text and no number, as for the reference evaluator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import orjson

from vecferry.connectors.postgres._codec.columns import AS_TEXT, type_of
from vecferry.connectors.postgres.collection import Collection
from vecferry.connectors.postgres.ddl import is_own, literal, quote
from vecferry.errors import Unsupported
from vecferry.filters import And, Compare, Contains, Exists, Filter, Leaf, Not, OneOf, Op, Or, Scalar
from vecferry.tables.model import SPREAD
from vecferry.tables.sql import selected
from vecferry.tables.types import is_bool, is_int, is_json, is_text

_ORDER = {Op.GT: ">", Op.GTE: ">=", Op.LT: "<", Op.LTE: "<="}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a metadata key stands: a column with its type text, or a value of type jsonb."""

    sql: str
    column: str | None = None


def condition(made: Collection, node: Filter) -> str:
    """The SQL condition of `node` over the rows of `made`.

    Raises:
        Unsupported: it compares a text with NUL, which no PostgreSQL text holds.
    """
    match node:
        case And(parts):
            return _joined(made, parts, " AND ", "TRUE")
        case Or(parts):
            return _joined(made, parts, " OR ", "FALSE")
        case Not(part):
            return f"(({condition(made, part)}) IS NOT TRUE)"
    return _leaf(_place(made, node.key), node)


def _joined(made: Collection, parts: tuple[Filter, ...], word: str, nothing: str) -> str:
    return f"({word.join(condition(made, part) for part in parts)})" if parts else nothing


def _place(made: Collection, key: str) -> _Place:
    form = made.form
    if key in form.keys:
        expression = selected(made.table, form, quote)[key]
        column = form.own.get(key)
        kind = None if column is None else made.table.column(column).type
        return _Place(expression if kind else f"to_jsonb({expression})", kind)
    if form.metadata is None:
        return _Place("NULL::jsonb")
    own = made.spec.card is not None and is_own(made.table, form)
    inner = key if own else key.removeprefix(SPREAD)
    kept_apart = inner in form.keys or inner.startswith(SPREAD)
    if not own and (key != inner) is not kept_apart:
        return _Place("NULL::jsonb")  # such a key comes from no row: `vecferry.tables.metadata`
    document = f"t.{quote(form.metadata)}::jsonb"
    return _Place(f"(CASE WHEN jsonb_typeof({document}) = 'object' THEN {document} -> {_text(inner)} END)")


def _leaf(place: _Place, node: Leaf) -> str:
    if place.column is not None and not isinstance(node, Contains) and (simple := _simple(place, node)) is not None:
        return simple
    value = place.sql if place.column is None else _as_json(place.sql, place.column)
    if place.column is not None and not isinstance(node, Exists) and _is_tagged(place.column):
        return "FALSE"
    match node:
        case Exists():
            return f"(jsonb_typeof({value}) <> 'null')"
        case OneOf(_, values):
            return f"({' OR '.join(_equal(value, one) for one in values)})" if values else "FALSE"
        case Contains(_, wanted):
            inner = _equal("e.value", wanted)
            cells = f"jsonb_array_elements(CASE WHEN jsonb_typeof({value}) = 'array' THEN {value} END) AS e(value)"
            return f"EXISTS (SELECT 1 FROM {cells} WHERE {inner})"  # noqa: S608 (quoted)
        case Compare(_, Op.EQ, wanted):
            return _equal(value, wanted)
        case Compare(_, op, wanted):
            if not _is_number(wanted):
                return "FALSE"
            number = f"(CASE WHEN jsonb_typeof({value}) = 'number' THEN ({value})::numeric END)"
            return f"({number} {_ORDER[op]} {_number(wanted)})"


def _as_json(column: str, kind: str) -> str:
    """The value of a column as it is read."""
    if type_of(kind) is AS_TEXT:
        return f"to_jsonb(({column})::text)"
    if kind.endswith("[]"):  # some of its arrays are texts
        return f"({type_of(kind).select.format(column)})::jsonb"
    return f"to_jsonb({column})"


def _is_tagged(kind: str) -> bool:
    """Do values of this type read as something that JSON has no type for?"""
    return kind.startswith(("numeric", "bytea", "date", "timestamp")) and not kind.endswith("]")


def _equal(value: str, wanted: Scalar) -> str:
    return f"({value} = {_json(wanted)})"


def _simple(place: _Place, node: Leaf) -> str | None:
    """The condition on a column of a plain type, such as its indexes serve; None where it takes another way."""
    kind = place.column or ""
    fits: Callable[[Scalar], bool]
    write: Callable[[Scalar], str]
    if type_of(kind) is AS_TEXT:
        place = _Place(f"({place.sql})::text", kind)  # which is how its value is read
    if is_text(kind) or type_of(kind) is AS_TEXT:
        fits, write = (lambda value: isinstance(value, str)), _text
    elif is_int(kind) or kind == "double precision":
        fits, write = _is_number, _number
    elif is_bool(kind):
        fits, write = (lambda value: isinstance(value, bool)), str
    else:
        return f"({place.sql} IS NOT NULL)" if isinstance(node, Exists) and not is_json(kind) else None
    match node:
        case Exists():
            return f"({place.sql} IS NOT NULL)"
        case OneOf(_, values):
            chosen = [write(value) for value in values if fits(value)]
            return f"({place.sql} IN ({', '.join(chosen)}))" if chosen else "FALSE"
        case Compare(_, Op.EQ, wanted):
            return f"({place.sql} = {write(wanted)})" if fits(wanted) else "FALSE"
        case Compare(_, op, wanted):
            return f"({place.sql} {_ORDER[op]} {write(wanted)})" if _is_number(wanted) and fits(wanted) else "FALSE"
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Scalar) -> str:
    """A number as SQL; a float is the very double, written exactly."""
    return f"'{value!r}'::float8" if isinstance(value, float) else str(value)


def _text(value: Scalar) -> str:
    text = str(value)
    if "\0" in text:
        raise Unsupported("PostgreSQL has no text with NUL.", hint="Leave this predicate out.")
    return literal(text)


def _json(value: Scalar) -> str:
    if isinstance(value, str):
        return f"to_jsonb({_text(value)}::text)"
    return f"{literal(orjson.dumps(value).decode() if not isinstance(value, int) else repr(value).lower())}::jsonb"
