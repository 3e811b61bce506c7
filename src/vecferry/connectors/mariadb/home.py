"""The table that records came from, where they go home to MariaDB: the spec's config says it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vecferry.connectors.mariadb.catalog import dimension, is_vector
from vecferry.errors import ConfigError
from vecferry.model import CollectionSpec
from vecferry.tables import Form, Parent, Table
from vecferry.tables.envelope import COLUMN as ENVELOPE
from vecferry.tables.keys import id_kind

MADE = "made"
"""A setting of specs whose table is a new one, in the form that an application wants; it may name a `Parent`."""
_KNOWN = frozenset({"table", "form", "m", "vector_index", MADE})
_M = range(3, 201)


def table(spec: CollectionSpec, database: str) -> Table | None:
    """The table that `spec` comes from, under its name here; None where there is none, or it no longer fits."""
    form_ = form(spec)
    if form_ is None:
        return None
    found = Table.from_json(spec.config["table"])
    if ENVELOPE in found.names:
        return None  # one of our own make: it is made for the records as they are now
    columns = {column.name: column for column in found.columns}
    kinds = [columns[name].type for name in form_.vectors.values() if name in columns]
    if found.view or len(kinds) != len(form_.vectors) or not all(map(is_vector, kinds)):
        return None
    dims = {name: dimension(kind) for name, kind in zip(form_.vectors, kinds, strict=True)}
    same = dims == {vector.name: vector.dim for vector in spec.vectors} and id_kind(found, form_) is spec.id_kind
    return replace(found, name=spec.name, namespace=(database,)) if same else None


def new(spec: CollectionSpec, database: str) -> Table | None:
    """The table that is to be made for an application, with an envelope; None where the spec tells of none."""
    told = Table.from_json(spec.config["table"]) if MADE in spec.config else None
    return None if told is None else replace(told, name=spec.name, namespace=(database,))


def parent_of(spec: CollectionSpec) -> Parent | None:
    """The row that every row of such a table refers to."""
    told = spec.config.get(MADE)
    return Parent.from_json(told["parent"]) if isinstance(told, Mapping) and "parent" in told else None


def form(spec: CollectionSpec) -> Form | None:
    """The form in which the records of `spec` were read from such a table; all rows of the new one count."""
    config = spec.config
    return replace(Form.from_json(config["form"]), where=None) if "table" in config and "form" in config else None


def configured(spec: CollectionSpec) -> CollectionSpec:
    """`spec` with a config that is seen to be one. Pure; again changes nothing.

    Raises:
        ConfigError: a setting that there is not, or a value that it does not take.
    """
    config = dict(spec.config)
    if unknown := sorted(config.keys() - _KNOWN):
        raise ConfigError(
            f"A MariaDB table has no setting '{unknown[0]}'.", hint=f"Known: {', '.join(sorted(_KNOWN))}."
        )
    _check_m(config)
    if not isinstance(config.get("vector_index", True), bool):
        raise ConfigError("vector_index is neither true nor false.", hint="Leave it out to have one built.")
    return replace(spec, config=config)


def _check_m(config: Mapping[str, Any]) -> None:
    m = config.get("m", _M.start)
    if type(m) is not int or m not in _M:
        raise ConfigError(f"m={m!r} is no number from {_M.start} to {_M.stop - 1}.", hint="Leave it out for 6.")
