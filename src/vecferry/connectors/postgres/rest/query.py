"""Which rows, as PostgREST writes it: behind a key, or with these keys. Pure text.

By its documentation: Horizontal Filtering, Logical Operators, Reserved Characters, Ordering.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def name(column: str) -> str:
    """A column's name, in quotes where it needs them."""
    return column if _PLAIN.fullmatch(column) else value(column)


def value(text: str) -> str:
    """A value inside a list or a logical operator, where commas, dots and brackets mean something."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def ordered(key: Sequence[str]) -> str:
    """What `order` says: rows in the order of their key."""
    return ",".join(f"{name(column)}.asc" for column in key)


def beyond(key: Sequence[str], last: Sequence[str]) -> dict[str, str]:
    """The parameters of "strictly behind the row with the key `last`", in the order of the key."""
    if len(key) == 1:
        return {name(key[0]): f"gt.{last[0]}"}
    terms = []
    for place, column in enumerate(key):
        behind = f"{name(column)}.gt.{value(last[place])}"
        same = [f"{name(other)}.eq.{value(text)}" for other, text in zip(key[:place], last[:place], strict=True)]
        terms.append(f"and({','.join((*same, behind))})" if same else behind)
    return {"or": f"({','.join(terms)})"}


def among(key: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, str]:
    """The parameters of "one of the rows with these keys"."""
    if len(key) == 1:
        return {name(key[0]): f"in.({','.join(value(row[0]) for row in rows)})"}
    terms = [
        f"and({','.join(f'{name(column)}.eq.{value(text)}' for column, text in zip(key, row, strict=True))})"
        for row in rows
    ]
    return {"or": f"({','.join(terms)})"}
