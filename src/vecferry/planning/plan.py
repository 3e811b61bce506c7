"""From what was seen and what was asked to what will be done: one plan, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import msgspec

from vecferry.errors import ConfigError
from vecferry.layouts import PLAIN, id_rule
from vecferry.layouts import layout as find_layout
from vecferry.limits import Limits
from vecferry.model import Card, CollectionSpec, FieldIndex, Json, JsonObject, StoreIdentity
from vecferry.planning import losses
from vecferry.planning.estimate import estimate, with_embedding
from vecferry.planning.flows import flow_of, itself, kinds_of
from vecferry.planning.indexes import choose_indexes
from vecferry.planning.model import CollectionPlan, Inspection, Plan, Profile
from vecferry.planning.names import not_onto_itself, target_names
from vecferry.planning.options import AUTO, PlanOptions
from vecferry.planning.patterns import parse_patterns
from vecferry.planning.priority import arranged
from vecferry.planning.proofs import prove_targets
from vecferry.planning.tabled import forms_of, made_as, name_template, own_options, place_of, see_layout
from vecferry.planning.vectors import described, map_vectors
from vecferry.protocols import Configurable, Database
from vecferry.version import __version__


def make_plan(
    inspection: Inspection, source: Database, target: Database, options: PlanOptions, *, target_url: str
) -> Plan:
    """The plan of moving every inspected collection that `options.collections` name.

    Cells that need a decision carry the policy `refuse` until one is given; `losses.check` stops there.

    Raises:
        ConfigError: see `target_names`, `losses.accept`; or source and target are one collection.
        IdCollision: two source ids would fall on one target id.
        NotFound: a pattern fits no collection.
    """
    see_layout(target, options)
    patterns = parse_patterns(options.collections)
    chosen = [p for p in inspection.profiles if not patterns or any(pattern.fits(p.spec) for pattern in patterns)]
    _check_patterns(inspection, options)
    left_out = [profile for profile in chosen if target.limits.needs_dimension and _formless(profile)]
    chosen = [profile for profile in chosen if profile not in left_out]
    chosen.sort(key=lambda profile: place_of(source, profile.spec.qualified_name, options))
    if not chosen:
        raise ConfigError(
            f"{inspection.url} holds no record; there is nothing to move.",
            hint="Its collections are empty, and the target cannot make a collection whose dimension nobody knows.",
        )
    names = target_names([p.spec for p in chosen], patterns, name_template(options), target.limits)
    not_onto_itself(names, source.identity, target.identity)
    asked = [(p, own_options(source, p.spec.qualified_name, options, target.limits)) for p in chosen]
    rules = [(p, names[p.spec.qualified_name], id_rule(_layout(p, own), own.id_rule)) for p, own in asked]
    prove_targets(rules, source, target.limits)
    specs = _merged({p.spec.qualified_name: _target(p, names, source, target, own) for p, own in asked}, names)
    plans = [_collection(p, specs[p.spec.qualified_name], source, target.limits, own) for p, own in asked]
    return Plan(
        created=datetime.now(UTC).replace(microsecond=0),
        source_url=inspection.url,
        target_url=target_url,
        source=source.identity,
        target=target.identity,
        pin=inspection.pin,
        collections=tuple(arranged(plans, options)),
        left_out=tuple(profile.spec.qualified_name for profile in left_out),
        tables=forms_of(source, names),
    )


def _formless(profile: Profile) -> bool:
    """An empty collection that never saw a vector: nothing of it could be lost, and nobody knows its dimension."""
    return not profile.records and any(vector.dim is None for vector in profile.spec.vectors)


def _check_patterns(inspection: Inspection, options: PlanOptions) -> None:
    from vecferry.planning.inspect import select

    select([p.spec for p in inspection.profiles], parse_patterns(options.collections), store=inspection.url)


# --------------------------------------------------------------------------- one target collection


def _target(
    profile: Profile, names: Mapping[str, str], source: Database, target: Database, options: PlanOptions
) -> CollectionSpec:
    """What the sink will be asked to prepare."""
    spec = profile.spec
    origin = _changed(_origin(spec, source.identity), kinds_of(flow_of(source, spec.qualified_name)))
    kind = target.identity.kind
    home = origin if origin.get("kind") == kind else None
    same_kind = source.identity.kind == kind
    settings = _settings(spec, home, same_kind=same_kind)
    usual = find_layout(_layout(profile, options) if target.limits.payload_indexes else PLAIN.name)
    wanted = CollectionSpec(
        name=names[spec.qualified_name],
        id_kind=spec.id_kind,
        vectors=map_vectors(spec.vectors, target.limits, home=home),
        metadata=settings["metadata"],
        config={**usual.config, **settings["config"], **options.target_config},
        indexes=choose_indexes(
            profile,
            options,
            target.limits,
            own=_indexes(spec, home, same_kind=same_kind),
            usual=usual.indexes,
        ),
        count=profile.records,
        card=_card(profile, origin, options),
    )
    return configured(target, made_as(target, wanted, spec.name, options))


def configured(target: Database, spec: CollectionSpec) -> CollectionSpec:
    """`spec` as the target understands its config.

    Raises:
        ConfigError: a setting that the target does not have.
    """
    return target.configured(spec) if isinstance(target, Configurable) else spec


def _indexes(spec: CollectionSpec, home: JsonObject | None, *, same_kind: bool) -> tuple[FieldIndex, ...] | None:
    """The payload indexes that the collection brings along; None where they are to be chosen."""
    if same_kind and (spec.indexes or spec.card is not None):
        return spec.indexes
    known = (home or {}).get("indexes")
    return None if known is None else msgspec.convert(known, tuple[FieldIndex, ...])


def _settings(spec: CollectionSpec, home: JsonObject | None, *, same_kind: bool) -> dict[str, dict[str, Json]]:
    """The target's own metadata and configuration: those of the same kind of store, or of the origin on the way home.

    Settings of one kind of store mean nothing in another; they travel in the card's origin.
    """
    if same_kind:
        return {"metadata": dict(spec.metadata), "config": dict(spec.config)}
    return {name: dict((home or {}).get(name, {})) for name in ("metadata", "config")}


def _origin(spec: CollectionSpec, identity: StoreIdentity) -> JsonObject:
    """Where the records were first: what the source's card says, or else the source itself."""
    if spec.card is not None and spec.card.origin:
        return spec.card.origin
    return {
        "kind": identity.kind,
        "name": spec.name,
        "namespace": list(spec.namespace),
        "uid": spec.uid,
        "metadata": dict(spec.metadata),
        "config": dict(spec.config),
        "vectors": described(spec.vectors),
        **({"indexes": msgspec.to_builtins(spec.indexes)} if spec.indexes else {}),
    }


def _changed(origin: JsonObject, kinds: Sequence[str]) -> JsonObject:
    """`origin` with the transforms of this way alone: whoever compares both ends later should know of them."""
    rest = {key: value for key, value in origin.items() if key != "transforms"}
    return {**rest, "transforms": list(kinds)} if kinds else rest


def _card(profile: Profile, origin: JsonObject, options: PlanOptions) -> Card:
    return Card(
        vecferry=__version__,
        id_kind=profile.spec.id_kind,
        id_rule=id_rule(_layout(profile, options), options.id_rule),
        layout=_layout(profile, options),
        exact_vectors=options.exact_vectors,
        vectors=profile.spec.vectors,
        origin=origin,
        key_types=_key_types(profile),
    )


_KEYS_IN_CARD = 1_000
"""A card is read by every application that opens the collection: more keys would make it slow."""


def _key_types(profile: Profile) -> dict[str, dict[str, int]]:
    return {key: dict(found.types) for key, found in list(profile.keys.items())[:_KEYS_IN_CARD]}


def _layout(profile: Profile, options: PlanOptions) -> str:
    return find_layout(profile.layout if options.layout == AUTO else options.layout).name


def _collection(
    profile: Profile, target: CollectionSpec, source: Database, limits: Limits, options: PlanOptions
) -> CollectionPlan:
    name = profile.spec.qualified_name
    flow = flow_of(source, name)
    cells = losses.judge(profile, target.vectors, limits, exact_vectors=options.exact_vectors)
    opened = source.source(name)
    try:
        partitions = tuple(opened.partitions())
    finally:
        opened.close()
    return CollectionPlan(
        source=name,
        target=target,
        records=profile.records,
        bytes=profile.bytes,
        reads=() if flow.reads == itself(name) else flow.reads,
        transforms=flow.transforms,
        cells=losses.accept((profile.spec.name, name), cells, options.policies),
        partitions=partitions,
        if_exists=options.if_exists,
        on_conflict=options.on_conflict,
        estimate=with_embedding(estimate(profile, target, limits), profile, flow),
    )


# --------------------------------------------------------------------------- several sources on one target


def _merged(specs: Mapping[str, CollectionSpec], names: Mapping[str, str]) -> dict[str, CollectionSpec]:
    """Collections that go to one name share one target spec.

    Raises:
        ConfigError: their vectors or kinds of id differ.
    """
    merged: dict[str, CollectionSpec] = {}
    for source, spec in specs.items():
        first = merged.get(names[source])
        merged[names[source]] = spec if first is None else _merge(first, spec)
    return {source: merged[names[source]] for source in specs}


def _merge(first: CollectionSpec, other: CollectionSpec) -> CollectionSpec:
    if first.vectors != other.vectors or first.id_kind != other.id_kind:
        raise ConfigError(
            f"The collections that are to be merged into '{first.name}' differ in their vectors or kinds of id.",
            hint="Only collections with the same dimension, metric and kind of id can be merged; give them two names.",
        )
    assert first.card is not None and other.card is not None  # `_target` makes one  # noqa: PT018
    also = [*first.card.origin.get("merged", ()), {key: other.card.origin[key] for key in ("name", "namespace", "uid")}]
    card = replace(
        first.card,
        origin={**first.card.origin, "merged": also},
        key_types=_added(first.card.key_types, other.card.key_types),
    )
    keys = {index.key for index in first.indexes}
    indexes = (*first.indexes, *(index for index in other.indexes if index.key not in keys))
    return replace(first, count=(first.count or 0) + (other.count or 0), card=card, indexes=indexes)


def _added(a: Mapping[str, Mapping[str, int]], b: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    total: dict[str, dict[str, Json]] = {key: dict(types) for key, types in a.items()}
    for key, types in b.items():
        found = total.setdefault(key, {})
        for name, count in types.items():
            found[name] = found.get(name, 0) + count
    return total
