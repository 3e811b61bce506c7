"""SQL text that came from a card or a backup, which somebody else may have written: seen to be one piece. Pure."""

from __future__ import annotations

import re

from vecferry.errors import ConfigError

_TOKEN = re.compile(
    r"[eE]'(?:[^'\\]|''|\\.)*'|'(?:[^'\\]|'')*'|\"(?:[^\"\\]|\"\")+\"|`[\w ]+`|[^\W\d][\w$]*|\d+|\s+|--|/\*|.",
    re.DOTALL,
)
"""Strings, quoted names, words; a backslash outside an E'string' means different things to different servers"""
_NEVER = frozenset({"--", "/*", ";", "'", '"', "`", "\\", "$", "\0"})


def one_piece(text: str) -> str:
    """`text`, in which no statement ends, no comment begins, and all quotes and brackets are closed.

    What it computes is not judged.

    Raises:
        ConfigError: it is not so.
    """
    depth = 0
    for token in _TOKEN.findall(text):
        depth += {"(": 1, ")": -1}.get(token, 0)
        if depth < 0 or token in _NEVER:
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
