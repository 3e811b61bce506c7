"""Keys of a connection: fit for a header, and taken out of what a server says."""

from __future__ import annotations

import json

from vecferry.errors import ConfigError
from vecferry.secret import Secret

_LENGTH = 5
"""Anything shorter is no key, and may stand in any message."""


class Keys:
    """Keys that some servers and proxies repeat in the refusal that goes into a message."""

    def __init__(self, *keys: str) -> None:
        spellings = {spelling for key in keys if len(key) >= _LENGTH for spelling in _spellings(key)}
        self._spellings = sorted(spellings, key=len, reverse=True)

    def out_of(self, text: str) -> str:
        """`text` with `***` in place of every key."""
        for spelling in self._spellings:
            text = text.replace(spelling, "***")
        return text

    def __repr__(self) -> str:
        return "Keys(***)"


def _spellings(key: str) -> set[str]:
    """A key as it is, and as JSON may write it: some writers put a backslash before every slash."""
    written = json.dumps(key)[1:-1]
    return {key, written, written.replace("/", "\\/")}


def header_value(secret: Secret, what: str) -> str:
    """A secret that can stand in a header.

    Raises:
        ConfigError: it cannot; the message calls it `what` and never repeats it.
    """
    text = secret.reveal()
    if not text.isascii() or not text.isprintable():
        raise ConfigError(
            f"{what} holds characters that no HTTP header can carry.", hint="Put nothing but the key there."
        )
    return text
