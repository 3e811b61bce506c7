"""Our card in a collection's metadata: one JSON text, in pieces where the store allows only short values. Pure.

The text stands under `vecferry`; where a value may have only so many bytes, it goes on under `vecferry.1`,
`vecferry.2` and so on, and parts that only comfort a reader are left out where even that has no room.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from vecferry.errors import Unsupported
from vecferry.model import Card

KEY = "vecferry"


def written(card: Card, *, value_bytes: int | None = None, keys: int | None = None) -> dict[str, str]:
    """The metadata that holds `card`, in values of at most `value_bytes` bytes and at most `keys` of them.

    Raises:
        Unsupported: there is no room for it.
    """
    if value_bytes is None:
        return {KEY: msgspec.json.encode(card).decode()}
    for form in _shorter(card):
        text = json.dumps(msgspec.to_builtins(form), separators=(",", ":"))  # ASCII: a character is a byte
        pieces = [text[start : start + value_bytes] for start in range(0, len(text), value_bytes)]
        if keys is None or len(pieces) <= keys:
            return {_key(number): piece for number, piece in enumerate(pieces)}
    raise Unsupported(
        "The collection's own metadata leaves no room for what vecferry has to note in it.",
        hint=f"Values of {value_bytes} bytes are allowed there, {keys} of them are free: shorten its own metadata.",
    )


def _shorter(card: Card) -> Iterator[Card]:
    """The card, then with less and less in it."""
    yield card
    yield replace(card, key_types={})
    origin = {name: card.origin[name] for name in ("kind", "name", "namespace") if name in card.origin}
    yield replace(card, key_types={}, origin=origin, indexes=())


def _key(number: int) -> str:
    return f"{KEY}.{number}" if number else KEY


def _pieces(metadata: Mapping[str, Any]) -> Iterator[str]:
    number = 0
    while isinstance(metadata.get(_key(number)), str):
        yield _key(number)
        number += 1


def read(metadata: Mapping[str, Any]) -> Card | None:
    """The card in a collection's metadata; None where there is none that we understand."""
    try:
        return msgspec.json.decode("".join(metadata[key] for key in _pieces(metadata)), type=Card)
    except msgspec.MsgspecError:
        return None


def without(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A collection's metadata without the card, whether we understand it or not."""
    ours = set(_pieces(metadata))
    return {key: value for key, value in metadata.items() if key not in ours}
