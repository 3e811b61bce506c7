"""SQL that PostgreSQL and MariaDB share: ranks, joins, ids, the condition. Pure text; names go through `quote`.

The table itself is `t` everywhere, its parents are `p0`, `p1` …
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from vecferry.tables.keys import Part, template
from vecferry.tables.model import Form, Join, Rank, Table
from vecferry.tables.types import is_int

Quote = Callable[[str], str]
"""A name as an identifier: `"name"` or `` `name` ``, quotes inside doubled."""


def selected(table: Table, form: Form, quote: Quote) -> dict[str, str]:
    """By metadata key, the SQL expression: for every one of `form.keys`, in their order."""
    own = {key: f"t.{quote(column)}" for key, column in form.own.items()}
    ranks = {form.name(name): rank_sql(table, rank, quote) for name, rank in form.ranks.items()}
    parents = {
        key: f"p{n}.{quote(column)}" for n, join in enumerate(form.joins) for key, column in join.columns.items()
    }
    return {**own, **ranks, **parents}


def from_sql(table: Table, form: Form, quote: Quote) -> str:
    """What follows FROM: the table as `t`, and its parents."""
    return " ".join((f"{_qualified(table, quote)} t", *_joins(table, form.joins, quote)))


def where_sql(form: Form) -> str:
    """The form's own condition in brackets, `TRUE` where it has none: the words of the plan's owner, never of data."""
    return f"({form.where})" if form.where else "TRUE"


def rank_sql(table: Table, rank: Rank, quote: Quote) -> str:
    """How many rows of the same group stand before this one.

    A subquery for each row, so that it is the same in every page and for a single record; an index that begins with
    `within` makes it quick.
    """
    same = [f"r.{quote(column)} = t.{quote(column)}" for column in rank.within]
    before = " OR ".join(_before(rank.by, quote))
    return f"(SELECT count(*) FROM {_qualified(table, quote)} r WHERE {' AND '.join((*same, f'({before})'))})"  # noqa: S608 # quoted


def id_sql(table: Table, form: Form, quote: Quote) -> str:
    """The text of a record's id by the form's template; what `vecferry.tables.keys.fill` gives."""
    return f"concat({', '.join(_pieces(table, form, quote))})"


def ids_sql(table: Table, form: Form, ids: Sequence[str], quote: Quote, literal: Quote, *, binary: str = "{}") -> str:
    """The condition of the rows whose ids by the form's template are among `ids`, `FALSE` where none can be.

    Numbers in the ids narrow the rows down by their own columns first, so that an index can serve.

    Args:
        table: that is read.
        form: whose `id` is a template.
        ids: original ids.
        quote: a name as an identifier.
        literal: a text as a literal.
        binary: what makes a text compare letter by letter, around `{}`.
    """
    parts = template(form.id)
    shapes = [re.escape(part.text) if part.text else _shape(table, form, part) for part in parts]
    if None in shapes:
        narrow: list[str] = []
        possible = list(ids)
    else:
        pattern = re.compile("".join(f"({shape})" for shape in shapes if shape is not None))
        found = {text: match.groups() for text in ids if (match := pattern.fullmatch(text))}
        possible = list(found)
        narrow = [
            f"t.{quote(part.column)} IN ({', '.join(sorted({groups[place] for groups in found.values()}))})"
            for place, part in enumerate(parts)
            if part.column in table.names and not part.md5 and found
        ]
    if not possible:
        return "FALSE"
    same = f"{binary.format(id_sql(table, form, quote))} IN ({', '.join(map(literal, possible))})"
    return " AND ".join((*narrow, same))


def _shape(table: Table, form: Form, part: Part) -> str | None:
    """The regular expression of what a column leaves in an id; None where it could be anything."""
    if part.md5:
        return "[0-9a-f]{32}"
    if part.column in form.ranks:
        return r"\d{1,18}"
    return r"-?\d{1,18}" if is_int(table.column(part.column).type) else None


def _pieces(table: Table, form: Form, quote: Quote) -> Iterator[str]:
    for part in template(form.id):
        if part.column:
            rank = form.ranks.get(part.column)
            value = f"t.{quote(part.column)}" if rank is None else rank_sql(table, rank, quote)
            yield f"md5({value})" if part.md5 else value
        else:
            yield "'" + part.text.replace("'", "''") + "'"


def _before(by: tuple[str, ...], quote: Quote) -> Iterator[str]:
    """(a, b) < (x, y) spelled out, since the planners of both stores take it apart no better than this."""
    for place, column in enumerate(by):
        equal = [f"r.{quote(name)} = t.{quote(name)}" for name in by[:place]]
        yield "(" + " AND ".join((*equal, f"r.{quote(column)} < t.{quote(column)}")) + ")"


def _joins(table: Table, joins: tuple[Join, ...], quote: Quote) -> Iterator[str]:
    for number, join in enumerate(joins):
        schema = join.schema or (table.namespace[-1] if table.namespace else "")
        parent = ".".join(quote(name) for name in (schema, join.table) if name)
        equal = " AND ".join(f"p{number}.{quote(there)} = t.{quote(here)}" for here, there in join.match.items())
        yield f"LEFT JOIN {parent} p{number} ON {equal}"


def _qualified(table: Table, quote: Quote) -> str:
    return ".".join(quote(name) for name in (*table.namespace, table.name))
