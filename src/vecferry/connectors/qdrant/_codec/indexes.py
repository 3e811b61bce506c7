"""Payload indexes as Qdrant makes and describes them. Pure.

An index on a key of the metadata is told by the key. Any other (on the text, on a path into nested metadata, on the
elements of a list) carries its path as it is in layout `plain`, so that it is found again where the layout changes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from vecferry.connectors.qdrant._codec.filters import path
from vecferry.connectors.qdrant._codec.form import Form
from vecferry.errors import ConfigError
from vecferry.layouts import PLAIN, Layout
from vecferry.model import FieldIndex, IndexKind, Json

_EVERY = frozenset({"on_disk", "memory", "enable_hnsw"})
_TEXT = frozenset(
    {
        "tokenizer",
        "min_token_len",
        "max_token_len",
        "lowercase",
        "ascii_folding",
        "phrase_matching",
        "stopwords",
        "stemmer",
    }
)
SETTINGS: Mapping[IndexKind, frozenset[str]] = MappingProxyType(
    {
        IndexKind.KEYWORD: _EVERY | {"prefix"},
        IndexKind.INTEGER: _EVERY | {"lookup", "range", "is_principal"},
        IndexKind.FLOAT: _EVERY | {"is_principal"},
        IndexKind.BOOL: _EVERY,
        IndexKind.TEXT: _EVERY | _TEXT,
        IndexKind.DATETIME: _EVERY | {"is_principal"},
        IndexKind.UUID: _EVERY,
        IndexKind.GEO: _EVERY,
    }
)
"""What Qdrant 1.7 to 1.19 knows to set for each kind of index. It ignores any other name without a word."""
_PATH, _TENANT = "path", "is_tenant"
_ONE_KEY = re.compile(r'"[^"]*"|[^."\[\]]+')


def indexes(form: Form) -> dict[str, dict[str, Any]]:
    """Payload path -> schema of every payload index that the collection is to have.

    Raises:
        ConfigError: a setting that Qdrant does not know for this kind of index, or a path that leads nowhere.
    """
    wanted = {_place(form, index): _schema(index) for index in form.spec.indexes}
    own = {form.layout.id_path: {"type": "keyword"}, f"{form.layout.envelope_path}.seq": {"type": "integer"}}
    return wanted | own


def _schema(index: FieldIndex) -> dict[str, Json]:
    settings = {name: value for name, value in index.settings.items() if name != _PATH}
    if unknown := sorted(settings.keys() - SETTINGS[index.kind]):
        raise ConfigError(
            f"A {index.kind} index of Qdrant (on '{index.key}') has no setting '{unknown[0]}'.",
            hint=f"Known: {', '.join(sorted(SETTINGS[index.kind]))}.",
        )
    return {"type": index.kind.value, **({_TENANT: True} if index.tenant else {}), **settings}


def _place(form: Form, index: FieldIndex) -> str:
    """Where the index stands in the payloads of `form`."""
    told = index.settings.get(_PATH)
    if told is None:
        return path(form, index.key)
    layout = form.layout
    texts = {PLAIN.document_key: layout.document_key, PLAIN.uri_key: layout.uri_key}
    head, _, rest = str(told).partition(".")
    if told in texts:
        return texts[told]
    if head != PLAIN.metadata_key or not rest:
        raise ConfigError(
            f"The index '{index.key}' is on '{told}', which no record has.",
            hint="Write document, uri or metadata.PATH.",
        )
    return rest if layout.metadata_key is None else f"{layout.metadata_key}.{rest}"


def described_indexes(schema: Mapping[str, Any], layout: Layout) -> tuple[FieldIndex, ...]:
    """The payload indexes that a collection has, save those on our envelope."""
    kinds = {kind.value for kind in IndexKind}
    envelope, named = layout.envelope_path, layout.id_path
    ours = (where in (envelope, named) or where.startswith(f"{envelope}.") for where in sorted(schema))
    return tuple(
        _described(where, schema[where], layout)
        for where, own in zip(sorted(schema), ours, strict=True)
        if not own and schema[where]["data_type"] in kinds
    )


def _described(where: str, entry: Mapping[str, Any], layout: Layout) -> FieldIndex:
    params = {name: value for name, value in (entry.get("params") or {}).items() if value is not None}
    tenant = bool(params.pop(_TENANT, False))
    params.pop("type", None)
    key, told = _key(where, layout)
    settings = params | ({_PATH: told} if told else {})
    return FieldIndex(key=key, kind=IndexKind(entry["data_type"]), tenant=tenant, settings=settings)


def _key(where: str, layout: Layout) -> tuple[str, str]:
    """(key, path in layout `plain` where the key alone does not tell) of an index on the payload path `where`."""
    if where in (layout.document_key, layout.uri_key):
        name = PLAIN.document_key if where == layout.document_key else PLAIN.uri_key
        return name, name
    rest = where.removeprefix(f"{layout.metadata_key}.") if layout.metadata_key is not None else where
    return (rest.strip('"'), "") if _ONE_KEY.fullmatch(rest) else (rest, f"{PLAIN.metadata_key}.{rest}")
