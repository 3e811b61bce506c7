"""Text put together from a record's metadata: `{source}#{page}`. No expressions, no format codes. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from string import Formatter
from typing import Any

from vecferry.errors import ConfigError
from vecferry.tags import canonical

_HINT = "Write text with {key} for metadata values, {@id} and {@collection}; {{ and }} are braces."


@dataclass(frozen=True, slots=True)
class Template:
    """Pieces of a template: (text, the name behind it or None)."""

    pieces: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """The template that `text` says.

        Raises:
            ConfigError: braces that do not match, an empty name, or a format code.
        """
        try:
            parts = list(Formatter().parse(text))
        except ValueError as error:
            raise ConfigError(f"'{text}' is no template: {error}.", hint=_HINT) from error
        for _, name, code, conversion in parts:
            if name == "" or code or conversion:
                raise ConfigError(f"'{text}' is no template: it may hold names alone.", hint=_HINT)
            if name is not None and name.startswith("@") and name not in ("@id", "@collection"):
                raise ConfigError(f"'{text}' asks for {{{name}}}, which there is not.", hint=_HINT)
        return cls(tuple((literal, name) for literal, name, _, _ in parts))

    @property
    def names(self) -> frozenset[str]:
        """What it asks for."""
        return frozenset(name for _, name in self.pieces if name is not None)

    def fill(self, value: Callable[[str], Any]) -> str | None:
        """The text with each name's value in its place; None where a value is missing, null, a list or an object."""
        parts = []
        for literal, name in self.pieces:
            parts.append(literal)
            if name is not None:
                text = as_text(value(name))
                if text is None:
                    return None
                parts.append(text)
        return "".join(parts)


def as_text(value: Any) -> str | None:
    """A scalar as text: text as it is, other scalars as JSON or ISO 8601 write them; None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, bool | float):
        return canonical(value).decode()
    if isinstance(value, int):
        return str(value)
    return value.isoformat() if isinstance(value, date) else None
