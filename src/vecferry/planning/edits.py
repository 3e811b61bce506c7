"""A plan that a person edited, judged again: what was proven of the plan as it was made need not hold any more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from vecferry.errors import ConfigError
from vecferry.ids import common_kind
from vecferry.layouts import id_rule
from vecferry.model import Card, CollectionSpec
from vecferry.planning.losses import judge
from vecferry.planning.model import Cell, CollectionPlan, Plan, Policy, Profile
from vecferry.planning.names import legal, not_onto_itself
from vecferry.planning.options import PlanOptions
from vecferry.planning.plan import configured
from vecferry.planning.proofs import prove_targets
from vecferry.planning.vectors import match_vectors
from vecferry.protocols import Database


def settle(plan: Plan, profiles: Sequence[Profile], source: Database, target: Database) -> Plan:
    """`plan` with its cells judged against its targets as they are now; every policy that still fits is kept.

    Names, vectors, layouts, id rules and merges are checked as when a plan is made. Reads the source again only where
    an id rule was changed or collections are merged.

    Raises:
        ConfigError: a name or vector that the target does not take, an unknown layout, or collections on one name that
            differ.
        IdCollision: two ids would become one.
    """
    by_name = {profile.spec.qualified_name: profile for profile in profiles}
    plan = replace(plan, collections=tuple(replace(c, target=configured(target, c.target)) for c in plan.collections))
    plan = replace(plan, collections=tuple(map(_with_rule, plan.collections)))
    names = {collection.source: collection.target.name for collection in plan.collections}
    not_onto_itself(names, source.identity, target.identity)
    for collection in plan.collections:
        legal(collection.target.name, target.limits)
        _check_vectors(collection, by_name[collection.source])
    _check_merges(plan.collections)
    parts = [(by_name[c.source], c.target.name, _card(c).id_rule) for c in plan.collections]
    prove_targets(parts, source, target.limits)
    settled = (_judged(collection, by_name[collection.source], target) for collection in plan.collections)
    return replace(plan, collections=tuple(settled))


def wishes_of(decided: Plan, options: PlanOptions) -> PlanOptions:
    """`options` with the collections and target names of an edited plan, so that a plan made anew has the same ones."""
    pairs = tuple(f"{collection.source}={collection.target.name}" for collection in decided.collections)
    return replace(options, collections=pairs)


def _card(collection: CollectionPlan) -> Card:
    return collection.target.card or Card()


def _with_rule(collection: CollectionPlan) -> CollectionPlan:
    """`collection` with its layout's own id rule, where the plan names none."""
    card = _card(collection)
    ruled = replace(card, id_rule=id_rule(card.layout, card.id_rule))
    return collection if ruled == card else replace(collection, target=replace(collection.target, card=ruled))


def _check_vectors(collection: CollectionPlan, profile: Profile) -> None:
    """Vectors may be left out, renamed and given another metric, not made up or given another dimension."""
    known = [new for _, new in match_vectors(profile.spec.vectors, collection.target.vectors) if new is not None]
    strange = [vector for vector in collection.target.vectors if vector not in known]
    source = {vector.name: vector for vector in profile.spec.vectors}
    wrong = [v for v in known if v.name in source and (v.kind, v.dim) != (source[v.name].kind, source[v.name].dim)]
    for vector in (*strange, *wrong):
        raise ConfigError(
            f"'{collection.source}' has no {vector.kind} vector '{vector.name}' of {vector.dim} dimensions.",
            hint="The plan may leave a vector out or change its metric; its kind and dimension are the source's.",
        )
    if collection.target.id_kind is not common_kind(collection.target.id_kind, profile.spec.id_kind):
        raise ConfigError(
            f"The ids of '{collection.source}' are {profile.spec.id_kind}, not {collection.target.id_kind}.",
            hint=f"Write `id_kind: {profile.spec.id_kind}` in the plan: the source decides.",
        )


def _check_merges(collections: Iterable[CollectionPlan]) -> None:
    forms: dict[str, CollectionSpec] = {}
    for collection in collections:
        first = forms.setdefault(collection.target.name, collection.target)
        if replace(first, card=None, count=None) != replace(collection.target, card=None, count=None):
            raise ConfigError(
                f"Two collections go to '{first.name}', with different targets.",
                hint="Give both the same `target`, or two names.",
            )


def _judged(collection: CollectionPlan, profile: Profile, target: Database) -> CollectionPlan:
    card = _card(collection)
    cells = judge(profile, collection.target.vectors, target.limits, exact_vectors=card.exact_vectors)
    return replace(collection, cells=tuple(_answered(cells, {cell.shape: cell.policy for cell in collection.cells})))


def _answered(cells: Iterable[Cell], policies: Mapping[str, Policy | None]) -> Iterable[Cell]:
    for cell in cells:
        policy = policies.get(cell.shape)
        yield replace(cell, policy=policy) if policy in cell.choices else cell
