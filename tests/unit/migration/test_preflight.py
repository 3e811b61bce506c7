"""An edited plan's choices, taken over into a plan that was made anew."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from vecferry.errors import ConfigError
from vecferry.migration.preflight import with_decisions
from vecferry.model import Card, CollectionSpec, FieldIndex, IndexKind, StoreIdentity
from vecferry.planning.model import Cell, CollectionPlan, IfExists, OnConflict, Plan, Policy, Verdict

CHOICES = (Policy.CONVERT, Policy.QUARANTINE, Policy.REFUSE)


def cell(shape: str, policy: Policy | None = Policy.REFUSE, count: int = 3) -> Cell:
    return Cell(shape=shape, verdict=Verdict.LOSSY, count=count, policy=policy, choices=CHOICES)


def collection(name: str = "docs", **changes: Any) -> CollectionPlan:
    card = Card(origin={"uid": "of the source now"}, key_types={"page": {"int": 3}})
    target = CollectionSpec(name=name, count=3, card=card)
    return replace(CollectionPlan(source=name, target=target, records=3, bytes=9), **changes)


def plan(*collections: CollectionPlan, where: str = "a") -> Plan:
    return Plan(
        created=datetime(2026, 1, 1, tzinfo=UTC),
        source_url=f"memory:{where}",
        target_url="memory:b",
        source=StoreIdentity(kind="memory", where=where),
        target=StoreIdentity(kind="memory", where="b"),
        collections=collections,
    )


def decided(fresh: CollectionPlan, edited: CollectionPlan) -> CollectionPlan:
    (result,) = with_decisions(plan(fresh), plan(edited)).collections
    return result


def test_choices_are_taken_over_and_counts_are_not() -> None:
    index = FieldIndex(key="page", kind=IndexKind.INTEGER)
    card = Card(layout="flat", origin={"uid": "of the source then"}, key_types={})
    target = CollectionSpec(name="renamed", indexes=(index,), count=1, card=card)
    edited = collection(
        target=target,
        records=1,
        if_exists=IfExists.APPEND,
        on_conflict=OnConflict.SKIP,
        cells=(cell("order", Policy.CONVERT, count=1),),
    )
    result = decided(collection(cells=(cell("order"),)), edited)
    assert (result.target.name, result.target.indexes, result.target.count) == ("renamed", (index,), 3)
    assert (result.if_exists, result.on_conflict) == (IfExists.APPEND, OnConflict.SKIP)
    assert result.cells == (cell("order", Policy.CONVERT),)
    assert result.records == 3
    assert result.target.card == Card(
        layout="flat", origin={"uid": "of the source now"}, key_types={"page": {"int": 3}}
    )


def test_a_loss_that_the_edited_plan_did_not_know_stays_refused() -> None:
    result = decided(collection(cells=(cell("order"), cell("nested-object"))), collection(cells=(cell("order"),)))
    assert {one.policy for one in result.cells} == {Policy.REFUSE}


def test_options_of_this_call_go_before_the_plan_file() -> None:
    """`--accept`, `--if-exists` and `--on-conflict` beside `--plan` are answers too, and later ones."""
    fresh = collection(
        cells=(cell("order", Policy.CONVERT),), if_exists=IfExists.RECREATE, on_conflict=OnConflict.REPLACE
    )
    edited = collection(cells=(cell("order"),), if_exists=IfExists.REFUSE, on_conflict=OnConflict.SKIP)
    result = decided(fresh, edited)
    assert (result.if_exists, result.on_conflict) == (IfExists.RECREATE, OnConflict.REPLACE)
    assert result.cells[0].policy is Policy.CONVERT


def test_collections_that_were_taken_out_stay_out() -> None:
    result = with_decisions(plan(collection("a"), collection("b")), plan(collection("b")))
    assert [one.source for one in result.collections] == ["b"]


def test_a_plan_of_other_stores_is_refused() -> None:
    with pytest.raises(ConfigError, match="for the source memory elsewhere, not for memory a"):
        with_decisions(plan(collection()), plan(collection(), where="elsewhere"))


def test_a_collection_that_is_not_in_the_source_is_refused() -> None:
    with pytest.raises(ConfigError, match="'gone'"):
        with_decisions(plan(collection()), plan(collection("gone")))
