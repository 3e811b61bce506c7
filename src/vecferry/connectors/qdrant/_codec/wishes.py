"""What a person wishes of a collection, in short names, spelled out as Qdrant's own settings. Pure.

| short          | means                                                                                            |
|----------------|--------------------------------------------------------------------------------------------------|
| `quantization` | `scalar`, `binary`, `product` (16 times smaller), `none`, or Qdrant's own object                  |
| `datatype`     | `float32`, `float16` or `uint8` for every dense vector, or {vector name: number type}              |
| `on_disk`      | every vector on disk, or in memory                                                               |
| `m`, `ef_construct`, `payload_m` | of the vector index                                                            |

A short name stands for the whole collection: what single vectors had of their own in its place goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from vecferry.errors import ConfigError
from vecferry.model import CollectionSpec, Element, Json, VectorKind, VectorSpec

WHOLE = (
    "hnsw_config",
    "quantization_config",
    "optimizers_config",
    "shard_number",
    "sharding_method",
    "replication_factor",
    "write_consistency_factor",
    "read_fan_out_factor",
    "on_disk_payload",
    "wal_config",
    "strict_mode_config",
)
"""Settings of a collection that `spec.config` may hold, under Qdrant's own names."""
OWN = ("vectors", "sparse_vectors", "aliases", "shard_keys")
"""Further keys of `spec.config`: settings per vector name, other names of the collection, its shard keys."""
_HNSW = ("m", "ef_construct", "payload_m")
SHORT = ("quantization", "datatype", "on_disk", *_HNSW)
_INSIDE = {
    "hnsw_config": {*_HNSW, "full_scan_threshold", "max_indexing_threads", "on_disk", "inline_storage", "memory"},
    "quantization_config": {"scalar", "product", "binary", "turbo"},
    "optimizers_config": {
        "deleted_threshold",
        "vacuum_min_vector_number",
        "default_segment_number",
        "max_segment_size",
        "memmap_threshold",
        "indexing_threshold",
        "flush_interval_sec",
        "max_optimization_threads",
        "prevent_unoptimized",
    },
}
"""What may stand in a setting; Qdrant ignores any other name without a word."""
_QUANTIZATION: dict[str, Json] = {
    "scalar": {"scalar": {"type": "int8"}},
    "binary": {"binary": {}},
    "product": {"product": {"compression": "x16"}},
}
_DATATYPES = {element.value: element for element in (Element.FLOAT32, Element.FLOAT16, Element.UINT8)}

Config = dict[str, Any]


def configured(spec: CollectionSpec) -> CollectionSpec:
    """`spec` with its short names spelled out, in its config and its vectors. Again changes nothing.

    Raises:
        ConfigError: a setting that Qdrant does not have, or a value that it does not take.
    """
    config: Config = dict(spec.config)
    wishes = {name: config.pop(name) for name in SHORT if name in config}
    _check(config)
    if config.get("sharding_method") != "custom":
        config.pop("shard_keys", None)
    for name, wish in wishes.items():
        if name != "datatype":
            config = _APPLY[name](spec, config, wish)
    return replace(spec, config=config, vectors=_typed(spec, wishes.get("datatype")))


def _check(config: Mapping[str, Any]) -> None:
    _known(config, {*WHOLE, *OWN, *SHORT}, "a collection")
    for name, names in _INSIDE.items():
        for own in (config, *config.get("vectors", {}).values()):
            _known(own.get(name) or {}, names, name)
    if not isinstance(aliases := config.get("aliases", []), list | tuple) or not all(type(a) is str for a in aliases):
        raise ConfigError(f"aliases={aliases} is no list of names.", hint='Write aliases=["NAME", …], or [] for none.')


def _known(given: Any, known: set[str], what: str) -> None:
    if not isinstance(given, Mapping):
        raise ConfigError(f"{what} is {given!r}, which is no object of settings.", hint="Write NAME={…} as JSON.")
    for name in sorted(given.keys() - known):
        near = get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise ConfigError(
            f"Qdrant has no setting '{name}' for {what}.", hint=f"{hint}Known: {', '.join(sorted(known))}."
        )


def _hnsw(name: str) -> Callable[[CollectionSpec, Config, Json], Config]:
    def apply(_: CollectionSpec, config: Config, wish: Json) -> Config:
        if type(wish) is not int or wish < 0:
            raise ConfigError(f"{name}={wish} is not a whole number from 0 on.", hint=f"For example {name}=16.")
        config = _each_vector(config, lambda own: _without(own, "hnsw_config", name))
        return config | {"hnsw_config": {**(config.get("hnsw_config") or {}), name: wish}}

    return apply


def _quantization(_: CollectionSpec, config: Config, wish: Json) -> Config:
    if isinstance(wish, str) and wish in _QUANTIZATION:
        wish = _QUANTIZATION[wish]
    elif wish in (None, "none"):
        wish = None
    elif not isinstance(wish, Mapping) or len(wish) != 1:
        raise ConfigError(
            f"quantization={wish} is not known.",
            hint=f'Write one of {", ".join(_QUANTIZATION)} or none, or Qdrant\'s own {{"scalar": {{…}}}}.',
        )
    _known(wish or {}, _INSIDE["quantization_config"], "quantization_config")
    config = _each_vector(config, lambda own: {k: v for k, v in own.items() if k != "quantization_config"})
    return config | {"quantization_config": wish}


def _on_disk(spec: CollectionSpec, config: Config, wish: Json) -> Config:
    if type(wish) is not bool:
        raise ConfigError(f"on_disk={wish} is not known.", hint="Write on_disk=true or on_disk=false.")
    dense, sparse = dict(config.get("vectors", {})), dict(config.get("sparse_vectors", {}))
    for vector in spec.vectors:
        if vector.kind is VectorKind.SPARSE:
            own = dict(sparse.get(vector.name) or {})
            sparse[vector.name] = {**own, "index": {**(own.get("index") or {}), "on_disk": wish}}
        else:
            dense[vector.name] = {**dense.get(vector.name, {}), "on_disk": wish}
    return config | {name: one for name, one in (("vectors", dense), ("sparse_vectors", sparse)) if one}


_APPLY: dict[str, Callable[[CollectionSpec, Config, Json], Config]] = {
    "quantization": _quantization,
    "on_disk": _on_disk,
    **{name: _hnsw(name) for name in _HNSW},
}


def _each_vector(config: Config, change: Callable[[Config], Config]) -> Config:
    """`config` with the settings of single vectors changed; those that are left without any go."""
    changed = {name: change(dict(own)) for name, own in config.get("vectors", {}).items()}
    rest = {key: value for key, value in config.items() if key != "vectors"}
    kept = {name: own for name, own in changed.items() if own}
    return rest | ({"vectors": kept} if kept else {})


def _without(own: Config, setting: str, name: str) -> Config:
    inner = {key: value for key, value in (own.get(setting) or {}).items() if key != name}
    rest = {key: value for key, value in own.items() if key != setting}
    return rest | ({setting: inner} if inner else {})


def _typed(spec: CollectionSpec, wish: Json) -> tuple[VectorSpec, ...]:
    """The vectors of `spec` with the number types that are wished."""
    if wish is None:
        return spec.vectors
    by_name = dict(_wished(spec, wish))
    return tuple(replace(vector, element=by_name.get(vector.name, vector.element)) for vector in spec.vectors)


def _wished(spec: CollectionSpec, wish: Json) -> Iterator[tuple[str, Element]]:
    dense = {vector.name for vector in spec.vectors if vector.kind in (VectorKind.DENSE, VectorKind.MULTI)}
    for name, kind in (wish if isinstance(wish, Mapping) else dict.fromkeys(dense, wish)).items():
        if name not in dense or kind not in _DATATYPES:
            raise ConfigError(
                f"datatype={wish} is not known.",
                hint=f'Write one of {", ".join(_DATATYPES)}, or {{"VECTOR": …}}; it has {", ".join(sorted(dense))}.',
            )
        yield name, _DATATYPES[kind]
