"""What decides the outcome of a plan, as readable names and values: equal facts, equal run. Pure.

The ledger hashes them into the plan's fingerprint and, where an unfinished run's facts differ, names those that do.
Times, versions, estimates and counts are not among them: they say nothing about what ends up in the target.
"""

from __future__ import annotations

import msgspec

from vecferry.model import CollectionSpec, StoreIdentity
from vecferry.plan.model import CollectionPlan, Plan
from vecferry.tags import canonical


def facts(plan: Plan) -> dict[str, str]:
    """Readable name -> readable value, in the plan's order."""
    found = {"source": _store(plan.source), "target": _store(plan.target)}
    if plan.pin is not None:
        found["source snapshot"] = plan.pin.identity
    for collection in plan.collections:
        for name, value in _collection(collection).items():
            found[f"{collection.source}: {name}"] = value
    return found


def _store(identity: StoreIdentity) -> str:
    return f"{identity.kind} at {identity.where}"


def _collection(plan: CollectionPlan) -> dict[str, str]:
    target, card = plan.target, plan.target.card
    found = {
        "target name": target.qualified_name,
        "vectors": _text(target.vectors),
        "indexes": _text(target.indexes),
        "settings": _text(target.config),
        "kind of id": target.id_kind.value,
        "policies": _text({cell.shape: cell.policy for cell in plan.cells if cell.policy is not None}),
        "partitions": _text([[part.id, part.bounds] for part in plan.partitions]),
        "on conflict": plan.on_conflict.value,
    }
    if card is not None:
        found |= {"id rule": _text(card.id_rule), "layout": card.layout, "exact vectors": card.exact_vectors.value}
        found |= {"source identity": _uid(target)}
    return found


def _uid(target: CollectionSpec) -> str:
    origin = target.card.origin if target.card is not None else {}
    return str(origin.get("uid"))


def _text(value: object) -> str:
    return canonical(msgspec.to_builtins(value)).decode()
