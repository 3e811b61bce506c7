"""What the text of a column's type means, in PostgreSQL's words and MariaDB's. Pure."""

from __future__ import annotations

import re

_INT = re.compile(r"(tiny|small|medium|big)?int(eger)?(\(\d+\))?( unsigned)?( zerofill)?|(small|big)?serial|int[248]")
_TEXT = re.compile(
    r"(text|citext|(tiny|medium|long)text|(character varying|varchar|character|char|bpchar)(\s*\(\d+\))?|name)\b[^\[]*"
)
_INEXACT = re.compile(r"real|double|float|bytea|.*blob|(var)?binary|.*\[\]")
_VECTOR = re.compile(r"(?:[\w\"]+\.)?(vector|halfvec|sparsevec|bit)(?:\s*\((\d+)\))?", re.IGNORECASE)


def is_int(kind: str) -> bool:
    """An integer type; `tinyint(1)`, MariaDB's boolean, is one."""
    return _INT.fullmatch(kind.lower()) is not None


def is_uuid(kind: str) -> bool:
    return kind.lower() == "uuid"


def is_text(kind: str) -> bool:
    """A type of text of any length."""
    return _TEXT.fullmatch(kind.lower()) is not None


def is_json(kind: str) -> bool:
    return kind.lower() in {"json", "jsonb"}


def is_bool(kind: str) -> bool:
    return kind.lower() in {"boolean", "bool"}


def is_inexact(kind: str) -> bool:
    """A type whose values are not told apart by the text that the store prints of them, or hold anything."""
    return is_json(kind) or vector_type(kind) is not None or _INEXACT.match(kind.lower()) is not None


def vector_type(kind: str) -> tuple[str, int | None] | None:
    """(`vector`, `halfvec`, `sparsevec` or `bit`; dimension or None) of a type that a vector can stand in.

    `bit(1)` and a bare `bit` are flags, not vectors. A schema before the name is left out.
    """
    found = _VECTOR.fullmatch(kind)
    if found is None:
        return None
    name, dim = found[1].lower(), int(found[2]) if found[2] else None
    return None if name == "bit" and (dim or 1) == 1 else (name, dim)
