"""A plan as the ledger sees it: which job it is, and the facts that decide what ends up in the target. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from vecferry.engine.units import planned
from vecferry.model import CollectionSpec, Json, Partition, StoreIdentity
from vecferry.planning.model import CollectionPlan, Plan
from vecferry.state.model import Job, Target, job_key
from vecferry.tags import canonical

_NOT_FACTS = ("count", "uid", "card.run", "card.vecferry", "card.key_types")
"""Parts of a target's spec that may differ between two plans of the same copy: what the source holds, who writes."""


def job(plan: Plan, request: Mapping[str, str] | None = None) -> Job:
    """The job of a plan. `request` holds the user's options that a resumed run must share, by readable name."""
    names = {collection.source: collection.target.qualified_name for collection in plan.collections}
    return Job(
        key=job_key(plan.source, plan.target, names),
        source=_where(plan.source),
        target=_where(plan.target),
        collections=tuple(
            Target(
                source=collection.source,
                target=collection.target.qualified_name,
                partitions=collection.partitions,
                units=() if collection in (*plan.kept, *plan.synced) else tuple(planned(collection)),
            )
            for collection in plan.collections
        ),
        facts=dict(_facts(plan)),
        plan=msgspec.json.encode(plan).decode(),
        request=dict(request or {}),
    )


def fingerprint(plan: Plan) -> str:
    """The hash of everything that decides what the plan leaves in the target; no times, no versions of servers."""
    return job(plan).fingerprint


def load_plan(text: str) -> Plan:
    """The plan that `job` stored."""
    return msgspec.json.decode(text.encode(), type=Plan)


def _where(store: StoreIdentity) -> str:
    return f"{store.kind} {store.where}"


def _facts(plan: Plan) -> Iterator[tuple[str, str]]:
    yield "source", _where(plan.source)
    yield "target", _where(plan.target)
    if plan.pin is not None:
        yield "source snapshot", plan.pin.identity
    for collection in plan.collections:
        for name, value in _collection_facts(collection):
            yield f"'{collection.source}' {name}", value


def _collection_facts(collection: CollectionPlan) -> Iterator[tuple[str, str]]:
    yield from _spec_facts(collection.target)
    yield "on conflict", collection.on_conflict.value
    if collection.reads:
        yield "reads", canonical(msgspec.to_builtins(collection.reads)).decode()
    for number, step in enumerate(collection.transforms, 1):
        yield f"transform {number}", canonical(msgspec.to_builtins(step)).decode()
    for cell in collection.cells:
        if cell.policy is not None:
            yield f"policy for {cell.shape}", cell.policy.value
    yield "partitions", _partitions(collection.partitions)


def _spec_facts(spec: CollectionSpec) -> Iterator[tuple[str, str]]:
    for path, value in _leaves(msgspec.to_builtins(spec), ""):
        if not any(path == part or path.startswith(f"{part}.") for part in _NOT_FACTS):
            yield f"target {path}", value


def _leaves(value: Json, path: str) -> Iterator[tuple[str, str]]:
    """(dotted path, canonical JSON) of every leaf that says something.

    Null and what is empty are left out, so that a field which a later vecferry adds does not change an older plan.
    """
    if isinstance(value, dict) and value:
        for key in sorted(value):
            yield from _leaves(value[key], f"{path}.{key}" if path else key)
    elif isinstance(value, list | tuple) and value:
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]")
    elif value not in (None, "", [], (), {}):
        yield path, canonical(value).decode()


def _partitions(partitions: Sequence[Partition]) -> str:
    bounds = canonical([[partition.id, partition.bounds] for partition in partitions])
    return f"{len(partitions)} with bounds {hashlib.blake2b(bounds, digest_size=6).hexdigest()}"
