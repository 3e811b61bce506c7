"""A plan that a person edited is judged again: no proof of the plan as it was is taken for one of what it became."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.plan.making import CHROMA_LIKE, QDRANT_LIKE, SPEC, Limited, fill, inspected, record, store
from vecferry.errors import ConfigError, IdCollision
from vecferry.ids import IdMapper
from vecferry.limits import Limits
from vecferry.model import IdKind, IdRule, Keep, Metric, VectorSpec
from vecferry.planning.edits import settle, wishes_of
from vecferry.planning.losses import check
from vecferry.planning.model import CollectionPlan, Plan, Policy
from vecferry.planning.options import PlanOptions
from vecferry.planning.plan import make_plan

Edit = Callable[[CollectionPlan], CollectionPlan]


def settled(edit: Edit, limits: Limits = QDRANT_LIKE, **collections: Any) -> Plan:
    source, target = store(**(collections or {"docs": [record("a", metadata={"k": None})]})), Limited(limits)
    found = inspected(source)
    plan = make_plan(found, source, target, PlanOptions(), target_url="test:")
    edited = replace(plan, collections=tuple(edit(collection) for collection in plan.collections))
    return settle(edited, found.profiles, source, target)


def _same(collection: CollectionPlan) -> CollectionPlan:
    return collection


def _target(**changes: Any) -> Edit:
    return lambda collection: replace(collection, target=replace(collection.target, **changes))


def _card(**changes: Any) -> Edit:
    def edit(collection: CollectionPlan) -> CollectionPlan:
        assert collection.target.card is not None
        return _target(card=replace(collection.target.card, **changes))(collection)

    return edit


def test_an_unedited_plan_stays_as_it_is() -> None:
    """Judging again changes nothing where nothing changed."""
    source, target = store(docs=[record("a", None)], other=[record("b")]), Limited(CHROMA_LIKE)
    found = inspected(source)
    plan = make_plan(found, source, target, PlanOptions(), target_url="test:")
    assert settle(plan, found.profiles, source, target) == plan


def test_accepted_policies_stay_accepted() -> None:
    """What a person answered holds."""

    def accepting(collection: CollectionPlan) -> CollectionPlan:
        cells = (replace(c, policy=Policy.CONVERT) if c.choices else c for c in collection.cells)
        return replace(collection, cells=tuple(cells))

    check(settled(accepting, CHROMA_LIKE))


def test_a_deleted_cell_comes_back() -> None:
    """Taking the cell out of the file is no consent."""
    plan = settled(lambda collection: replace(collection, cells=()), CHROMA_LIKE)
    assert Policy.REFUSE in {cell.policy for cell in plan.collections[0].cells}


def test_keeping_the_bits_is_judged_anew() -> None:
    """An edit of the card changes the verdict."""
    (cell,) = [c for c in settled(_card(exact_vectors=Keep.BITS)).collections[0].cells if c.shape == "cosine-length"]
    assert cell.verdict == "exact"


@pytest.mark.parametrize(
    "edit,message",
    [
        (_target(name="no/slash"), "does not take"),
        (_target(vectors=(VectorSpec(dim=4),)), "has no dense vector"),
        (_target(vectors=(VectorSpec(dim=3), VectorSpec(name="second", dim=3))), "vector 'second'"),
        (_target(id_kind=IdKind.INT), "are text, not int"),
        (_card(layout="langchian"), "no layout"),
    ],
)
def test_an_edit_that_cannot_be_is_refused(edit: Edit, message: str) -> None:
    """Each with the thing and what is right."""
    limits = replace(QDRANT_LIKE, collection_name="[a-z]+")
    with pytest.raises(ConfigError, match=message):
        settled(edit, limits)


def test_another_metric_may_be_chosen() -> None:
    """The vectors are the same; the search is not."""
    plan = settled(_target(vectors=(VectorSpec(dim=3, metric=Metric.L2),)))
    assert plan.collections[0].target.vectors[0].metric is Metric.L2


def test_another_id_rule_is_proven() -> None:
    """The inspection's proof was of the default rule."""
    rule = IdRule(namespace="00000000-0000-0000-0000-000000000001")
    target = IdMapper(rule).map(IdKind.TEXT, b"hello")[0].decode()
    records = [record("hello"), record(target)]
    settled(_same, docs=records)
    with pytest.raises(IdCollision, match="hello"):
        settled(_card(id_rule=rule), docs=records)


def test_collections_merged_by_an_edit_are_proven_together() -> None:
    """Two names made one in the file: their targets must agree, and their ids must not meet."""
    with pytest.raises(ConfigError, match="different targets"):
        settled(lambda c: _target(name="all", config={"m": len(c.source)})(c), a=[record("x")], bb=[record("y")])
    with pytest.raises(IdCollision, match="text x"):
        settled(_target(name="all"), a=[record("x")], b=[record("x")])
    assert settled(_target(name="all"), a=[record("x")], b=[record("y")]).records == 2


def test_a_plan_made_anew_has_the_names_of_the_edited_one() -> None:
    """Two tenants' collections of one name, kept apart in the file: making the plan again must not stumble on them."""
    source, target = store(), Limited(QDRANT_LIKE)
    for tenant in ("acme", "globex"):
        fill(source, replace(SPEC, namespace=(tenant, "db")), [record("a")])
    found = inspected(source)
    edited = make_plan(found, source, target, PlanOptions(name="{tenant}"), target_url="test:")
    again = make_plan(found, source, target, wishes_of(edited, PlanOptions()), target_url="test:")
    assert again.collections == edited.collections
