"""What a person may wish of a table of ours: `--target-config NAME=VALUE`. Pure.

| setting                | means                                                                                     |
|------------------------|-------------------------------------------------------------------------------------------|
| `index`                | `hnsw` (the default), `ivfflat` or `none`: of every dense vector, built after the load      |
| `m`, `ef_construction` | of hnsw; `lists` of ivfflat                                                               |
| `datatype`             | `float16` for columns of type `halfvec`, `float32` for `vector`                            |
| `maintenance_work_mem` | for building indexes, as PostgreSQL writes it: `2GB`                                      |

`table` and `form` say what a source's table was, and how its rows are records: they come from a spec or a card. With
`made` beside them they are of a table that is new, in the form that an application wants; it names the row that all
of its rows refer to, if there is one.
"""

from __future__ import annotations

import re
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from vecferry.connectors.postgres.indexing import METHODS, SETTINGS, method
from vecferry.connectors.postgres.parents import MADE
from vecferry.errors import ConfigError
from vecferry.model import CollectionSpec, Element, VectorKind

_NUMBERS = {"m": (2, 100), "ef_construction": (4, 1_000), "lists": (1, 32_768)}
"""Smallest and largest (pgvector's hnsw.h and ivfflat.h)."""
_NAMES = ("index", *_NUMBERS, "datatype", "maintenance_work_mem")
_INTERNAL = ("table", "form", MADE)
_ELEMENTS = (Element.FLOAT32, Element.FLOAT16)
_MEMORY = re.compile(r"[1-9]\d{0,9}\s*(kB|MB|GB|TB)")


def configured(spec: CollectionSpec) -> CollectionSpec:
    """`spec` with the number type that was wished for; all its settings are such as we know.

    Raises:
        ConfigError: a setting that there is not, or a value that it does not take.
    """
    for name, value in spec.config.items():
        if name not in (*_NAMES, *_INTERNAL):
            near = get_close_matches(name, _NAMES, n=1)
            hint = f"Did you mean {near[0]}? " if near else ""
            raise ConfigError(f"A table has no setting '{name}'.", hint=f"{hint}There are: {', '.join(_NAMES)}.")
        _check(spec, name, value)
    wanted = spec.config.get("datatype")
    if wanted is None:
        return spec
    vectors = (
        replace(vector, element=Element(wanted)) if vector.kind is VectorKind.DENSE else vector
        for vector in spec.vectors
    )
    rest = {name: value for name, value in spec.config.items() if name != "datatype"}
    return replace(spec, vectors=tuple(vectors), config=rest)


def _check(spec: CollectionSpec, name: str, value: Any) -> None:
    if name in _NUMBERS:
        low, high = _NUMBERS[name]
        if type(value) is not int or not low <= value <= high:
            raise ConfigError(f"{name}={value} cannot be.", hint=f"It is a whole number from {low} to {high:,}.")
        if name not in SETTINGS[method(spec.config)]:
            owner = next(kind for kind in METHODS if name in SETTINGS[kind])
            raise ConfigError(f"'{name}' is a setting of {owner}.", hint=f"Add index={owner}, or leave it out.")
    if name == "index":
        method(spec.config)
    if name == "datatype" and value not in _ELEMENTS:
        raise ConfigError(f"datatype={value} is no column of pgvector.", hint="Write float32 or float16.")
    if name == "maintenance_work_mem" and not _MEMORY.fullmatch(str(value)):
        raise ConfigError(f"maintenance_work_mem={value} is no size.", hint="Write 512MB or 2GB.")
