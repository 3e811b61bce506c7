"""Does a form fit its table? Asked before anything is read. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from vecferry.errors import ConfigError
from vecferry.tables.keys import template
from vecferry.tables.model import SPREAD, Form, Table
from vecferry.tables.types import is_inexact, is_json, is_text


def check(table: Table, form: Form) -> None:
    """See that `form` reads `table`.

    Raises:
        ConfigError: no key, a column that the table has not, or of the wrong type, two metadata keys of one name.
    """
    name = ".".join((*table.namespace, table.name))
    for problem, hint in _problems(table, form):
        raise ConfigError(f"The form of '{name}' does not fit: {problem}.", hint=hint)


def _problems(table: Table, form: Form) -> Iterator[tuple[str, str]]:
    if not form.key:
        yield (
            "it has no key",
            ("Give the table a primary key, or name the columns that tell its rows apart: key: [column] in the plan."),
        )
    for column in _columns(form):
        table.column(column)
    if form.by is not None and is_inexact(table.column(form.by).type):
        kind = table.column(form.by).type
        yield f"'{form.by}' is a {kind}, whose values make no units", "Name a column of numbers or texts."
    yield from _types(table, form)
    yield from _names(form)


def _columns(form: Form) -> Iterator[str]:
    """The columns of the table that the form speaks of."""
    yield from (*form.key, *form.vectors.values(), *form.columns)
    yield from (name for name in (form.document, form.uri, form.metadata, form.by) if name is not None)
    for rank in form.ranks.values():
        yield from (*rank.within, *rank.by)
    for join in form.joins:
        yield from join.match
    if form.id:
        yield from (part.column for part in template(form.id) if part.column and part.column not in form.ranks)


def _types(table: Table, form: Form) -> Iterator[tuple[str, str]]:
    for column in form.vectors.values():
        if table.column(column).vector is None:
            yield f"'{column}' holds no vectors but {table.column(column).type}", "Name a vector column."
    for column in filter(None, (form.document, form.uri)):
        if not is_text(table.column(column).type):
            yield f"'{column}' is no text but {table.column(column).type}", "Name a text column, or none."
    if form.metadata is not None and not is_json(table.column(form.metadata).type):
        kind = table.column(form.metadata).type
        yield f"'{form.metadata}' is no JSON but {kind}", "Name a json or jsonb column as metadata, or none."


def _names(form: Form) -> Iterator[tuple[str, str]]:
    twice = [key for key, count in Counter(form.keys).items() if count > 1]
    if twice:
        yield (
            f"two columns would be the metadata key '{twice[0]}'",
            "Name one of them anew: names: {column: key}.",
        )
    prefixed = [key for key in form.keys if key.startswith(SPREAD)] if form.metadata is not None else []
    if prefixed:
        yield (
            f"the column '{prefixed[0]}' would read as a key of the JSON column '{form.metadata}'",
            "Give it another name (names: {column: key}), or take the JSON column as it is (metadata: null).",
        )
    lost = [column for column in form.key if column not in form.columns] if form.id or len(form.key) > 1 else []
    if lost:
        yield f"the key column '{lost[0]}' would not come back", f"Add it to columns: [{', '.join(lost)}, …]."
