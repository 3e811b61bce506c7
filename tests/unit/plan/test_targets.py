"""What stands in the target already: resumed, refused, asked about, or left alone, before anything is written."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.plan.making import SPEC, fill, inspected, record, store
from vecferry.errors import AlreadyExists, Conflict
from vecferry.model import Card, VectorSpec
from vecferry.planning.model import IfExists, Plan
from vecferry.planning.options import PlanOptions
from vecferry.planning.plan import make_plan
from vecferry.planning.targets import Standing, TargetState, check_targets, look_at_targets, occupied
from vecferry.protocols import Database
from vecferry.tables import Column, Parent, Table


def plan(target: Database, if_exists: IfExists = IfExists.ASK) -> Plan:
    source = store(docs=[record("a")])
    return make_plan(inspected(source), source, target, PlanOptions(if_exists=if_exists), target_url="memory:target")


def look(target: Database, made: Plan, **options: Any) -> TargetState:
    (state,) = look_at_targets(made, target, **options)
    return state


def test_a_free_name_is_absent() -> None:
    """The usual case: nothing to ask."""
    target = store()
    made = plan(target)
    state = look(target, made)
    assert state.standing is Standing.ABSENT
    assert check_targets(made, [state], target) == ()


def test_an_empty_collection_of_the_same_form_is_used() -> None:
    """Made in advance by the operator: nothing can be lost in it."""
    target = store(docs=[])
    made = plan(target)
    assert look(target, made).standing is Standing.EMPTY
    assert check_targets(made, look_at_targets(made, target), target) == ()


def test_an_occupied_collection_is_asked_about() -> None:
    """Records of somebody else are never touched unasked."""
    target = store(docs=[record("theirs")])
    made = plan(target)
    (asked,) = check_targets(made, look_at_targets(made, target), target)
    assert (asked.standing, asked.records) == (Standing.OCCUPIED, 1)


def test_an_occupied_collection_can_be_refused() -> None:
    """`--if-exists refuse` says what is there and what else to do."""
    target = store(docs=[record("theirs")])
    made = plan(target, IfExists.REFUSE)
    with pytest.raises(AlreadyExists, match="holds 1 records") as caught:
        check_targets(made, look_at_targets(made, target), target)
    assert "--if-exists" in str(caught.value)


@pytest.mark.parametrize("choice", [IfExists.APPEND, IfExists.RECREATE])
def test_told_what_to_do_nobody_is_asked(choice: IfExists) -> None:
    """The choice is in the plan."""
    target = store(docs=[record("theirs")])
    made = plan(target, choice)
    assert check_targets(made, look_at_targets(made, target), target) == ()


@pytest.mark.parametrize("choice", [IfExists.APPEND, IfExists.SYNC, IfExists.REFUSE])
def test_another_dimension_is_a_conflict(choice: IfExists) -> None:
    """Also where the collection is empty: no record of ours would fit."""
    target = store()
    fill(target, replace(SPEC, vectors=(VectorSpec(dim=4),)), [])
    made = plan(target, choice)
    with pytest.raises(Conflict, match="4 dimensions"):
        check_targets(made, look_at_targets(made, target), target)


def test_a_person_hears_of_the_conflict_and_may_recreate() -> None:
    """Where it holds records and nobody has decided: asked, with what does not fit."""
    target = store()
    fill(target, replace(SPEC, vectors=(VectorSpec(dim=4),)), [record("x", (1, 2, 3, 4))])
    made = plan(target)
    (asked,) = check_targets(made, look_at_targets(made, target), target)
    assert "4 dimensions" in str(asked.conflict)


def test_recreating_does_not_mind_another_dimension() -> None:
    """It will be dropped first."""
    target = store()
    fill(target, replace(SPEC, vectors=(VectorSpec(dim=4),)), [record("x", (1, 2, 3, 4))])
    made = plan(target, IfExists.RECREATE)
    assert check_targets(made, look_at_targets(made, target), target) == ()


@pytest.mark.parametrize("default, mine", [("'mine'::uuid", True), ("'other'::uuid", False), (None, False)])
def test_a_table_of_several_collections_is_not_made_anew_for_one(default: str | None, mine: bool) -> None:
    """The row that a record refers to is a column's default: a table whose default is another holds others, too."""
    target = store(docs=[record("theirs")])
    made = plan(target, IfExists.RECREATE)
    parent = Parent(column="owner", table=Table(name="p", columns=(), primary_key=("id",)), row={"id": "mine"})
    (collection,) = made.collections
    asked = replace(collection.target, config={"made": {"parent": parent.as_json()}})
    made = replace(made, collections=(replace(collection, target=asked),))
    state = look(target, made)
    assert state.found is not None
    table = Table(name="docs", columns=(Column(name="owner", type="uuid", default=default),))
    state = replace(state, found=replace(state.found, config={"table": table.as_json()}))
    with nullcontext() if mine else pytest.raises(Conflict, match="would be removed with all of them"):
        assert check_targets(made, [state], target) == ()
    assert check_targets(made, [replace(state, records=0)], target) == (), "nothing is lost"


def test_the_half_written_target_of_an_unfinished_run_is_ours() -> None:
    """It is resumed and never asked about; that of a run that nobody knows is as anybody's, but named."""
    target = store()
    fill(target, replace(SPEC, card=Card(run="run-1")), [record("half")])
    made = plan(target)
    state = look(target, made, unfinished={"run-1"})
    assert state.standing is Standing.OURS
    assert check_targets(made, [state], target) == ()
    unknown = look(target, made, unfinished=set())
    assert (unknown.standing, unknown.writer) == (Standing.OCCUPIED, "run-1")
    assert "run run-1 of vecferry wrote" in str(occupied(unknown))


def test_what_a_finished_run_wrote_is_moved_already() -> None:
    """Known by its name and its card both, and as long as it holds anything."""
    target = store()
    fill(target, replace(SPEC, card=Card(run="run-1")), [record("there")])
    made = plan(target)
    state = look(target, made, finished={"docs": "run-1"})
    assert state.standing is Standing.MOVED
    assert check_targets(made, [state], target) == ()
    assert look(target, made, finished={"docs": "run-2"}).standing is Standing.OCCUPIED
    assert look(target, made, finished={"faq": "run-1"}).standing is Standing.OCCUPIED


def test_what_was_emptied_since_is_filled_again() -> None:
    """There is nothing in it that could be lost."""
    target = store()
    fill(target, replace(SPEC, card=Card(run="run-1")), [])
    assert look(target, plan(target), finished={"docs": "run-1"}).standing is Standing.EMPTY


@pytest.mark.parametrize(
    "ours, whose",
    [
        (True, "run r1 of vecferry"),
        (False, "run r1 of vecferry, which this ledger does not know"),
        (None, "run r1 of vecferry"),
    ],
)
def test_only_a_ledger_that_was_asked_can_not_know_a_run(ours: bool | None, whose: str) -> None:
    """A dry run asks none."""
    found = replace(SPEC, card=Card(run="r1"))
    assert TargetState(target="docs", standing=Standing.OCCUPIED, records=1, found=found, ours=ours).whose == whose
