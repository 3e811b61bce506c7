"""Filters of ours as Qdrant filters, exactly or not at all. Pure.

A Qdrant condition on `k` also looks into a list under `k`; ours on a scalar never does. The path `k[]` means the
elements of a list alone, so "k matches, and no element of k[] does" is a scalar, and "both match" is a list: exact with
and without payload index, proven against the reference evaluator on the real server (tests/integration).

What stays: ranges compare as float64 (exact below 2**53), an integer index knows no floats, floats of 16 and 17 digits
drift in Qdrant's storage (ours are written down under `_vf.f`, so equality is exact; an order comparison within
a unit in the last place of such a float is not promised), and a key with a quote or a backslash cannot be addressed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vecferry.connectors.qdrant._codec.floats import is_fragile
from vecferry.connectors.qdrant._codec.form import Form
from vecferry.connectors.qdrant._codec.shape import text_keys
from vecferry.connectors.qdrant._codec.shard_keys import KEY as SHARD_KEY
from vecferry.connectors.qdrant._codec.shard_keys import is_custom
from vecferry.errors import Unsupported
from vecferry.filters import And, Compare, Contains, Exists, Filter, Not, OneOf, Op, Or, Scalar

Condition = dict[str, Any]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_RANGE = {Op.GT: "gt", Op.GTE: "gte", Op.LT: "lt", Op.LTE: "lte"}
_EXACT_INT = 1 << 53
_INT64 = 1 << 63
NOTHING: Condition = {"must": [{"has_id": []}]}
_NUMBER_BLIND = frozenset({"integer", "datetime"})
"""Kinds of payload index that answer a range on a key, and know only some of its numbers."""


def path(form: Form, key: str) -> str:
    """The payload path of metadata key `key`, quoted as Qdrant wants it.

    Raises:
        Unsupported: Qdrant cannot address this key.
    """
    layout = form.layout
    if key == SHARD_KEY and is_custom(form.spec.config):
        raise Unsupported(
            f"The shard key of a record of {form.spec.name} stands in no payload.", hint="Filter on another key."
        )
    if key not in layout.taken_keys:
        top = layout.metadata_key is None or key in layout.lifted
        return _quoted(key) if top else f"{layout.metadata_key}.{_quoted(key)}"
    if form.ours:
        return f"{layout.envelope_path}.k.{_quoted(key)}"
    raise Unsupported(
        f"The metadata key '{key}' of {form.spec.name} is the record's own.", hint="Filter on another key."
    )


def _quoted(key: str) -> str:
    if _BARE.fullmatch(key):
        return key
    if not key or '"' in key or "\\" in key:
        raise Unsupported(
            f"Qdrant cannot address the metadata key {key!r} in a filter or an index.",
            hint="Rename the key: Qdrant's paths know no empty names, quotes and backslashes.",
        )
    return f'"{key}"'


def unquoted(path: str) -> str:
    """A payload path to compare with others: Qdrant quotes keys in fewer cases than we do when it tells its indexes."""
    return path.replace('"', "")


class Translator:
    """Translates filters for one collection.

    Args:
        indexed: payload path -> kind of the payload index on it.
    """

    def __init__(self, form: Form, *, indexed: Mapping[str, str]) -> None:
        self._form = form
        self._indexed = {unquoted(path): kind for path, kind in indexed.items()}
        self._types = form.card.key_types

    def filter(self, node: Filter) -> Condition:
        """A Qdrant filter that matches exactly the records that `node` matches.

        Raises:
            Unsupported: there is none.
        """
        match node:
            case And(parts):
                return {"must": [self.filter(part) for part in parts]}
            case Or(parts):
                return {"should": [self.filter(part) for part in parts]} if parts else NOTHING
            case Not(part):
                return {"must_not": [self.filter(part)]}
            case OneOf(key, values):
                return self.filter(Or(tuple(Compare(key, Op.EQ, value) for value in values)))
            case Exists() | Compare() | Contains():
                aside = path(self._form, node.key)
                split = self._form.ours and node.key in text_keys(self._form.layout)
                return self._in_two_places(node, aside) if split else self._at(node, aside)

    # ----------------------------------------------------------------------- nodes

    def _at(self, node: Exists | Compare | Contains, where: str) -> Condition:
        match node:
            case Exists():
                return _exists(where)
            case Compare(key, Op.EQ, value):
                return self._equal(key, where, value)
            case Compare(key, op, value):
                return self._ordered(key, where, op, value)
            case Contains(key, value):
                return self._contains(key, where, value)

    def _in_two_places(self, node: Exists | Compare | Contains, aside: str) -> Condition:
        """A value under a key of the layout's own: a text stands aside, any other may stand where texts do."""
        if isinstance(node, Exists):
            raise Unsupported(
                f"Qdrant cannot tell whether '{node.key}' of {self._form.spec.name} is metadata or the record's own.",
                hint="Filter on another key.",
            )
        if isinstance(node, Compare) and isinstance(node.value, str):
            return self._at(node, aside)
        return {"should": [self._at(node, aside), self._at(node, _quoted(node.key))]}

    def _equal(self, key: str, where: str, value: Scalar) -> Condition:
        if isinstance(value, str):
            return self._scalar(key, _match(where, value), _match(f"{where}[]", value), never=self._note(key, "t"))
        if isinstance(value, bool):
            return self._scalar(key, _match(where, value), _match(f"{where}[]", value))
        if self._form.ours and _beyond(value):
            return self._equal_beyond(key, where, value)
        self._check_range(key, where, value)
        bounds = {"gte": value, "lte": value}
        never = self._note(key, "f")
        return self._scalar(key, _range(where, bounds), _range(f"{where}[]", bounds), never=never)

    def _equal_beyond(self, key: str, where: str, value: float) -> Condition:
        """Equality with a number that a float64 range does not tell from its neighbours."""
        if value == int(value) and abs(value) >= _INT64:
            raise _inexact(key, value, "it needs more than 63 bits")
        floats = [_match(self._note_path(key, "f"), repr(float(value)))] if float(value) == value else []
        integers = []
        if value == int(value):
            one = int(value)
            integers = [self._scalar(key, _match(where, one), _match(f"{where}[]", one))]
        return {"should": floats + integers}

    def _ordered(self, key: str, where: str, op: Op, value: Scalar) -> Condition:
        if isinstance(value, str | bool):
            return NOTHING
        self._check_range(key, where, value)
        bounds = {_RANGE[op]: value}
        return self._scalar(key, _range(where, bounds), _range(f"{where}[]", bounds))

    def _contains(self, key: str, where: str, value: Scalar) -> Condition:
        if self._tagged(key):
            raise _inexact(key, value, "some of its values are tagged")
        if isinstance(value, str | bool):
            return {"must": [_match(where, value), _match(f"{where}[]", value)]}
        self._check_range(key, where, value)
        bounds = {"gte": value, "lte": value}
        return {"must": [_range(where, bounds), _range(f"{where}[]", bounds)]}

    # ----------------------------------------------------------------------- parts

    def _scalar(
        self, key: str, on_key: Condition, on_elements: Condition, never: list[Condition] | None = None
    ) -> Condition:
        """`on_key`, and not because a list under the key has a matching element."""
        unless = [*(never or []), *([on_elements] if self._may_be_list(key) else [])]
        return {"must": [on_key], "must_not": unless} if unless else {"must": [on_key]}

    def _check_range(self, key: str, where: str, value: float) -> None:
        """Refuse a range that Qdrant would not answer exactly."""
        if _beyond(value):
            raise _inexact(key, value, "Qdrant compares as float64, and reads at most 15 digits exactly")
        index = self._indexed.get(unquoted(where))
        if index in _NUMBER_BLIND and not (index == "integer" and self._types.get(key) and not self._has(key, "float")):
            raise _inexact(key, value, f"its payload index is of the kind {index}, which does not know every number")
        if self._tagged(key):
            raise _inexact(key, value, "some of its values are tagged")

    def _may_be_list(self, key: str) -> bool:
        return not self._types or self._has(key, "list")

    def _tagged(self, key: str) -> bool:
        return self._has(key, "tagged")

    def _has(self, key: str, name: str) -> bool:
        """Does the profile know values of this type, alone or in lists, under the key?"""
        return any(kind.startswith(name) or f"[{name}" in kind for kind in self._types.get(key, ()))

    def _note(self, key: str, note: str) -> list[Condition]:
        """The condition that the envelope names this key: as tagged (`t`), or as a fragile float (`f`)."""
        return [_there(self._note_path(key, note))] if self._form.ours else []

    def _note_path(self, key: str, note: str) -> str:
        pointer = key.replace("~", "~0").replace("/", "~1")
        return f"{self._form.layout.envelope_path}.{note}.{_quoted(f'/{pointer}')}"


def _match(where: str, value: Scalar) -> Condition:
    return {"key": where, "match": {"value": value}}


def _range(where: str, bounds: Mapping[str, float]) -> Condition:
    return {"key": where, "range": dict(bounds)}


def _there(where: str) -> Condition:
    """The key is there, null or not."""
    return {"key": where, "values_count": {"gte": 0}}


def _exists(where: str) -> Condition:
    """There and not null. `is_empty` alone would take `[]` for nothing, `is_null` alone `[null]` for null."""
    null_or_empty = {"key": where, "values_count": {"lt": 1}}
    return {"must": [_there(where)], "must_not": [{"must": [null_or_empty, {"is_null": {"key": where}}]}]}


def _beyond(value: float) -> bool:
    """True for a number that a float64 comparison or Qdrant's JSON reader does not keep apart from others."""
    return abs(value) >= _EXACT_INT if isinstance(value, int) else is_fragile(value)


def _inexact(key: str, value: Scalar, why: str) -> Unsupported:
    return Unsupported(
        f"Qdrant cannot compare '{key}' with {value!r} exactly: {why}.",
        hint="Compare with another value, or filter on another key.",
    )
