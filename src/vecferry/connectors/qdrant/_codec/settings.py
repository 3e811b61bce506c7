"""Collection specs as Qdrant's collection settings, and back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from vecferry.connectors.qdrant._codec.form import Form, kept_name
from vecferry.connectors.qdrant._codec.wishes import WHOLE, configured
from vecferry.errors import ConfigError, CorruptData
from vecferry.layouts import ENVELOPE
from vecferry.model import (
    Card,
    CollectionSpec,
    Element,
    IdKind,
    Metric,
    VectorKind,
    VectorSpec,
)

CARD = "vecferry"
"""Key of the collection metadata that holds the card, as JSON text."""
LOAD = "vecferry_load"
"""Key of the collection metadata that holds what `finish` must restore; there only while indexing is deferred."""

_DISTANCES = {Metric.COSINE: "Cosine", Metric.L2: "Euclid", Metric.IP: "Dot", Metric.L1: "Manhattan"}
_METRICS = {name: metric for metric, name in _DISTANCES.items()}
_DATATYPES = {Element.FLOAT32: "float32", Element.INT8: "float32", Element.FLOAT16: "float16", Element.UINT8: "uint8"}
_UNINDEXED = {"on_disk": True, "hnsw_config": {"m": 0}}


def creation(form: Form) -> dict[str, Any]:
    """The body of `PUT /collections/NAME`.

    Raises:
        ConfigError: a setting that Qdrant does not have, or a vector without dimension.
    """
    config = configured(form.spec).config
    vectors = {
        vector.name: _vector(form, vector, config)
        for vector in form.stored_vectors
        if vector.kind is not VectorKind.SPARSE
    }
    only = vectors.get("") if len(vectors) == 1 else None
    sparse = {vector.name: config.get("sparse_vectors", {}).get(vector.name, {}) for vector in _sparse(form)}
    whole = {key: config[key] for key in WHOLE if config.get(key) is not None}
    metadata = {key: value for key, value in form.spec.metadata.items() if key not in (CARD, LOAD)}
    body: dict[str, Any] = {"vectors": only or vectors, **whole, "metadata": {**metadata, CARD: card_text(form.card)}}
    return {**body, "sparse_vectors": sparse} if sparse else body


def _sparse(form: Form) -> list[VectorSpec]:
    return [vector for vector in form.stored_vectors if vector.kind is VectorKind.SPARSE]


def _vector(form: Form, vector: VectorSpec, config: Mapping[str, Any]) -> dict[str, Any]:
    if not vector.dim:
        raise ConfigError(
            f"The vector '{vector.name}' of {form.spec.name} has no dimension yet.",
            hint="Qdrant fixes the dimension when a collection is made; an empty source cannot tell it.",
        )
    params: dict[str, Any] = {"size": vector.dim, "distance": _DISTANCES[vector.metric]}
    if (datatype := _DATATYPES[vector.element]) != "float32":
        params["datatype"] = datatype
    if vector.kind is VectorKind.MULTI:
        params["multivector_config"] = {"comparator": "max_sim"}
    if vector.name in {kept_name(scaled.name) for scaled in form.scaled}:
        return params | _UNINDEXED
    own: dict[str, Any] = config.get("vectors", {}).get(vector.name, {})
    return params | own


# --------------------------------------------------------------------------- the way back


def described(
    name: str, info: Mapping[str, Any], *, id_kind: IdKind, count: int | None, aliases: Iterable[str] = ()
) -> CollectionSpec:
    """The spec of a collection, from `GET /collections/NAME`. `id_kind` counts only where there is no card.

    Raises:
        CorruptData: the card cannot be read.
    """
    config = info["config"]
    metadata = dict(config.get("metadata") or {})
    card = read_card(name, metadata.pop(CARD)) if CARD in metadata else None
    metadata.pop(LOAD, None)
    return CollectionSpec(
        name=name,
        id_kind=card.id_kind if card else id_kind,
        vectors=card.vectors if card else vectors(config["params"]),
        metadata=metadata,
        config=_config(config) | ({"aliases": sorted(aliases)} if aliases else {}),
        count=count,
        card=card,
    )


def vectors(params: Mapping[str, Any]) -> tuple[VectorSpec, ...]:
    """The vectors of a collection as Qdrant has them."""
    dense = params.get("vectors") or {}
    named = {"": dense} if "size" in dense and not isinstance(dense["size"], Mapping) else dense
    found = [_described(name, vector) for name, vector in named.items()]
    sparse = params.get("sparse_vectors") or {}
    found += [VectorSpec(name=name, kind=VectorKind.SPARSE, metric=Metric.IP) for name in sparse]
    return tuple(sorted(found, key=lambda vector: vector.name))


def _described(name: str, params: Mapping[str, Any]) -> VectorSpec:
    return VectorSpec(
        name=name,
        kind=VectorKind.MULTI if params.get("multivector_config") else VectorKind.DENSE,
        dim=params["size"],
        metric=_METRICS[params["distance"]],
        element=Element(params.get("datatype") or "float32"),
    )


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a collection in the form that `creation` takes."""
    params = config["params"]
    given = {**params, **config, "optimizers_config": config.get("optimizer_config")}
    whole = {key: _without_nulls(given[key]) for key in WHOLE if given.get(key) is not None}
    dense, sparse = params.get("vectors") or {}, params.get("sparse_vectors") or {}
    named = {"": dense} if "size" in dense and not isinstance(dense["size"], Mapping) else dense
    fixed = {"size", "distance", "datatype", "multivector_config"}
    own = {
        name: {k: v for k, v in vector.items() if k not in fixed and v is not None} for name, vector in named.items()
    }
    own = {name: extra for name, extra in own.items() if extra and not name.startswith(ENVELOPE)}
    return {
        **whole,
        **({"vectors": own} if own else {}),
        **({"sparse_vectors": dict(sparse)} if any(sparse.values()) else {}),
    }


def _without_nulls(value: Any) -> Any:
    return {key: item for key, item in value.items() if item is not None} if isinstance(value, Mapping) else value


# --------------------------------------------------------------------------- the card


def card_text(card: Card) -> str:
    """A card as JSON text: as text, because Qdrant's own JSON storage moves some floats."""
    return msgspec.json.encode(card, order="deterministic").decode()


def read_card(name: str, text: Any) -> Card:
    """The card in collection metadata.

    Raises:
        CorruptData: it is no card, or one of a later version.
    """
    try:
        card = msgspec.json.decode(text, type=Card)
    except (msgspec.MsgspecError, TypeError) as error:
        raise CorruptData(
            f"The card of the collection {name} cannot be read: {error}.",
            hint=f"Restore or remove the key '{CARD}' of its collection metadata.",
        ) from error
    if card.version > Card().version:
        raise CorruptData(f"The card of the collection {name} is of version {card.version}.", hint="Update vecferry.")
    return card
