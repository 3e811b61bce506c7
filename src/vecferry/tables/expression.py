"""SQL text that came from a card or a backup, which somebody else may have written: seen to be one piece. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vecferry.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Dialect:
    """Where strings and quoted names end, and which tokens never stand in one piece of SQL."""

    token: re.Pattern[str]
    never: frozenset[str]


def _dialect(*quoted: str, never: str) -> Dialect:
    """A dialect with these strings and quoted names; what else there is are words, comments and single characters."""
    rest = (r"[^\W\d][\w$]*", r"\d+", r"\s+", "--", r"/\*", ".")
    return Dialect(re.compile("|".join((*quoted, *rest)), re.DOTALL), frozenset({"--", "/*", *never}))


POSTGRES = _dialect(r"[eE]'(?:[^'\\]|''|\\.)*'", r"'(?:[^'\\]|'')*'", r'"(?:[^"\\]|"")+"', never=";'\"`\\$\0")
"""Outside an E'string' what a backslash means is a setting of the server; `$` opens a string too."""
MARIADB = _dialect(r"'(?:[^'\\]|''|\\.)*'", r'"(?:[^"\\]|""|\\.)*"', r"`(?:[^`]|``)+`", never=";'\"`\\#\0")


def one_piece(text: str, dialect: Dialect) -> str:
    """`text`, in which no statement ends, no comment begins, and all quotes and brackets are closed.

    What it computes is not judged.

    Raises:
        ConfigError: it is not so.
    """
    depth = 0
    for token in dialect.token.findall(text):
        depth += {"(": 1, ")": -1}.get(token, 0)
        if depth < 0 or token in dialect.never:
            raise _unfit(text)
    if depth:
        raise _unfit(text)
    return text


def _unfit(text: str) -> ConfigError:
    return ConfigError(
        f"'{text[:80]}' is no single piece of SQL; nothing is made or read by it.",
        hint="It stands in a card or a backup that somebody changed: make the table yourself, or say in a plan how it "
        "is read.",
    )
