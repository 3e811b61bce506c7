"""Names and literals in MariaDB's SQL: everything that comes from a catalog or a record goes through here. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from vecferry.errors import ConfigError

MAX_NAME = 64
"""Characters of a database's, table's or column's name."""
CARDS = "_vecferry_cards"
"""The side table of a database that holds the cards of its collections."""


def quote(name: str) -> str:
    """`name` as an identifier.

    Raises:
        ConfigError: MariaDB has no such name: empty, too long, with NUL, past the basic plane, or ending in a space.
    """
    if not fits(name):
        raise ConfigError(
            f"{name!r} is no name that MariaDB takes.",
            hint=f"Choose one of 1 to {MAX_NAME} characters, not ending in a space, without emoji.",
        )
    return "`" + name.replace("`", "``") + "`"


def fits(name: str) -> bool:
    """True where MariaDB takes `name` as an identifier (its manual: "Identifier Names")."""
    odd = any(char == "\0" or ord(char) > 0xFFFF for char in name)
    return 0 < len(name) <= MAX_NAME and not odd and not name.endswith(" ")


def qualified(parts: Iterable[str]) -> str:
    """`database`.`table`."""
    return ".".join(map(quote, parts))


def text(value: str) -> str:
    """`value` as a literal of text."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def raw(value: bytes) -> bytes:
    """UTF-8 bytes as a literal of text; backslash escapes are on in every session of ours."""
    return b"'" + value.replace(b"\\", b"\\\\").replace(b"'", b"\\'") + b"'"


def hexed(value: bytes) -> bytes:
    """Bytes as a literal. In hexadecimal: MariaDB parses that twice as fast as escaped bytes (docs/adr/0023)."""
    return b"x'" + value.hex().encode() + b"'"
