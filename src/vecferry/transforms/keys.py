"""Changes of metadata keys and ids: rename, drop, constant, compute, ids. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vecferry.model import CollectionSpec, IdKind
from vecferry.transforms.rows import Aside, Change, Row
from vecferry.transforms.templates import Template


def rename(names: Mapping[str, str]) -> Change:
    """Old key -> new key; a record without the old key stays as it is. Undone by `rename` with the pairs turned."""

    def change(row: Row) -> None:
        if row.metadata is None:
            return
        moved = {names[key]: value for key, value in row.metadata.items() if key in names}
        if moved:
            row.metadata = {key: value for key, value in row.metadata.items() if key not in names}
            for key, value in moved.items():
                _put_free(row, key, value)

    return change


def _put_free(row: Row, key: str, value: Any) -> None:
    """Set a key that is free: two keys that become one could not be told apart again, even with equal values."""
    if row.metadata is not None and key in row.metadata:
        raise Aside(f"It has the metadata key '{key}' already.")
    row.put(key, value)


def drop(keys: Sequence[str]) -> Change:
    """Take these keys away. A record that loses all of them has an empty object, which is not "no metadata"."""
    gone = frozenset(keys)

    def change(row: Row) -> None:
        if row.metadata is not None:
            row.metadata = {key: value for key, value in row.metadata.items() if key not in gone}

    return change


def constant(values: Mapping[str, Any]) -> Change:
    """Give every record these values. Undone by `drop`, save that a record without metadata then has `{}`."""

    def change(row: Row) -> None:
        for key, value in values.items():
            row.put(key, value)

    return change


def compute(templates: Mapping[str, str]) -> Change:
    """Key -> text from a template; a record that lacks a part of it does not get the key."""
    parsed = {key: Template.parse(text) for key, text in templates.items()}

    def change(row: Row) -> None:
        made = {key: template.fill(row.get) for key, template in parsed.items()}
        for key, text in made.items():
            if text is not None:
                row.put(key, text)

    return change


def ids(template: str) -> Change:
    """New ids; a record that lacks a part of the template is set aside."""
    parsed = Template.parse(template)

    def change(row: Row) -> None:
        made = parsed.fill(row.get)
        if not made:
            raise Aside("Its metadata lacks a part of the new id.")
        row.id = made

    return change


# --------------------------------------------------------------------------- what becomes of the spec


def renamed(spec: CollectionSpec, names: Mapping[str, str]) -> CollectionSpec:
    """`spec` with its indexes on the new keys."""
    indexes = tuple(replace(index, key=names.get(index.key, index.key)) for index in spec.indexes)
    return replace(spec, indexes=indexes)


def without(spec: CollectionSpec, keys: Sequence[str]) -> CollectionSpec:
    """`spec` without the indexes on these keys."""
    return replace(spec, indexes=tuple(index for index in spec.indexes if index.key not in keys))


def text_ids(spec: CollectionSpec) -> CollectionSpec:
    """`spec` with ids that are text."""
    return replace(spec, id_kind=IdKind.TEXT)
