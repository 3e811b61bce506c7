"""Which rows have these ids, as SQL; and how a table is cut into ranges of its key. Pure text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from uuid import UUID

import pyarrow as pa

from vecferry.connectors.postgres._codec.columns import AS_TEXT, type_of
from vecferry.connectors.postgres.collection import Collection
from vecferry.connectors.postgres.ddl import is_own, literal, qualified, quote
from vecferry.errors import DataError
from vecferry.model import IdKind
from vecferry.tables import envelope
from vecferry.tables.keys import Value, split
from vecferry.tables.sql import ids_sql, where_sql
from vecferry.tables.types import is_int, is_text, is_uuid
from vecferry.tables.units import text_of

_INT = re.compile(r"0|-?[1-9]\d{0,19}")
_INT64 = 1 << 63
_BITS = {"smallint": 16, "integer": 32}
SAMPLED = 2_000_000
"""Rows past which the bounds of ranges come from a sample, not from a walk over the key."""
_SAMPLE = 50_000


def having(made: Collection, ids: Sequence[str]) -> str | None:
    """The condition of the rows with these ids; None where none of them can be there."""
    if made.form.id:
        possible = [text for text in ids if "\0" not in text]
        return ids_sql(made.table, made.form, possible, quote, literal) if possible else None
    rows = stored_keys(made, ids)
    if not rows:
        return None
    if len(made.form.key) > 1:
        return f"({made.key}) IN ({', '.join(f'({_list(row)})' for row in rows)})"
    return f"{_comparable(made, made.form.key[0])} IN ({_list([value for (value,) in rows])})"


def stored_keys(made: Collection, ids: Sequence[str]) -> list[tuple[str, ...]]:
    """The keys, as text, of the rows that may have these ids; an id that no row can have has none.

    The form's ids are made of its key (`Form.id` is empty).
    """
    if len(made.form.key) == 1:
        return [(value,) for value in sorted(set(_single(made, ids))) if "\0" not in value]
    return [row for text in ids if (row := _composite(made, text)) is not None]


def _list(values: Sequence[str]) -> str:
    return ", ".join(literal(value) for value in values if "\0" not in value)


def _single(made: Collection, ids: Sequence[str]) -> Iterator[str]:
    kind, own = made.table.column(made.form.key[0]).type, is_own(made.table, made.form) and made.spec.card is not None
    for text in ids:
        if is_int(kind):
            yield from _number(text, kind, unsigned=own)
        elif is_uuid(kind):
            yield from [text] if _is_uuid(text) else []
        else:
            yield from _stored(made, text) if own else [text]


def _stored(made: Collection, text: str) -> list[str]:
    """The forms in which a table of ours may hold a text id; of one whose kind is not known, both."""
    kinds = [IdKind.TEXT, IdKind.INT] if made.spec.id_kind is IdKind.MIXED else [None]
    stored = [envelope.stored_ids(pa.array([text]), None if kind is None else [kind])[0].as_py() for kind in kinds]
    return [one for one in stored if "\0" not in one]


def _number(text: str, kind: str, *, unsigned: bool) -> Iterator[str]:
    if _INT.fullmatch(text):
        number = int(text)
        number -= 2 * _INT64 if unsigned and number >= _INT64 else 0
        if _in_range(number, kind):
            yield str(number)


def _in_range(number: int, kind: str) -> bool:
    half = 1 << (_BITS.get(kind, 64) - 1)
    return -half <= number < half


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _composite(made: Collection, text: str) -> tuple[str, ...] | None:
    try:
        values = split(text, len(made.form.key))
    except DataError:
        return None
    kinds = [made.table.column(name).type for name in made.form.key]
    if not all(_fits(value, kind) for value, kind in zip(values, kinds, strict=True)):
        return None
    return tuple(map(str, values))


def _fits(value: Value, kind: str) -> bool:
    if is_int(kind):
        return isinstance(value, int) and _in_range(value, kind)
    return isinstance(value, str) and "\0" not in value and (not is_uuid(kind) or _is_uuid(value))


def _comparable(made: Collection, name: str) -> str:
    """The column, as text where it is neither a number, a UUID nor a text; a literal then never fails to be one."""
    kind = made.table.column(name).type
    plain = is_int(kind) or is_uuid(kind) or is_text(kind)
    return f"t.{quote(name)}" if plain else f"t.{quote(name)}::text"


# --------------------------------------------------------------------------- ranges


def cuts(made: Collection, *, rows: int, shares: int) -> str:
    """The statement that gives the keys at which about `shares` equal ranges begin, without the first."""
    texts = ", ".join(f"s.k{n}::text" for n in range(len(made.form.key)))
    keys = ", ".join(f"t.{quote(name)} AS k{n}" for n, name in enumerate(made.form.key))
    if rows <= SAMPLED or made.table.view:
        inner = f"SELECT {keys}, row_number() OVER (ORDER BY {made.key}) - 1 AS n FROM {made.rows}"  # noqa: S608
        step = -(-rows // shares)
        return f"SELECT {texts} FROM ({inner}) s WHERE s.n > 0 AND s.n % {step} = 0 ORDER BY s.n"  # noqa: S608
    percent = min(100.0, 100.0 * _SAMPLE / rows)
    chosen = f"TABLESAMPLE SYSTEM ({percent:.6f}) REPEATABLE (0)"
    sampled = f"{qualified(made.table)} t {chosen} WHERE {where_sql(made.form)}"
    inner = f"SELECT {keys}, ntile({shares}) OVER (ORDER BY {made.key}) AS n FROM {sampled}"  # noqa: S608
    order = ", ".join(f"s.k{n}" for n in range(len(made.form.key)))
    return f"SELECT DISTINCT ON (s.n) {texts} FROM ({inner}) s WHERE s.n > 1 ORDER BY s.n, {order}"  # noqa: S608


def values(made: Collection) -> str:
    """The statement that gives each value of the form's `by`, as text, and its rows; the most frequent first."""
    text = _letters(f"t.{quote(made.form.by or '')}")
    return f"SELECT {text}, count(*) FROM {made.rows} GROUP BY 1 ORDER BY 2 DESC, 1"  # noqa: S608 (quoted)


def of_unit(made: Collection, unit: str) -> str:
    """The condition of the rows of a unit, letter by letter: 1.0 = 1.00, and in a citext 'a' = 'A', are units of two.

    The column itself is compared too, so that its index can serve; where it is of a type that may know no equality
    (xml, point), its text alone.
    """
    name, value = f"t.{quote(made.form.by or '')}", text_of(unit)
    if value is None:
        return f"{name} IS NULL"
    kind = made.table.column(made.form.by or "").type
    if is_int(kind):
        return f"{name} = {literal(value)}"
    same = f"{_letters(name)} = {literal(value)}"
    return same if type_of(kind) is AS_TEXT and not is_text(kind) else f"{name} = {literal(value)} AND {same}"


def _letters(name: str) -> str:
    """A column as text that is compared letter by letter."""
    return f'{name}::text COLLATE "C"'


def without_key(made: Collection) -> str:
    """The statement that finds a row whose key is null in part."""
    empty = " OR ".join(f"t.{quote(name)} IS NULL" for name in made.form.key)
    return f"SELECT 1 FROM {made.rows} AND ({empty}) LIMIT 1"  # noqa: S608 (quoted)


def twice(made: Collection) -> str:
    """The statement that finds a key that stands twice, as text."""
    shown = ", ".join(f"t.{quote(name)}::text" for name in made.form.key)
    return f"SELECT {shown} FROM {made.rows} GROUP BY {made.key} HAVING count(*) > 1 LIMIT 1"  # noqa: S608 (quoted)
