"""Transform files, flows, and the source seen through them: split, merged, counted, resumed, refused."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.plan.making import fill, inspected
from tests.unit.transforms.support import SPEC, record
from vecferry.arrow import to_records
from vecferry.errors import ConfigError, LossRefused, NotFound
from vecferry.migration.views import as_it_is, of_plan, wished
from vecferry.model import Record, VectorSpec
from vecferry.planning.losses import check
from vecferry.planning.model import CollectionPlan, Plan, Policy
from vecferry.planning.options import PlanOptions
from vecferry.planning.plan import make_plan
from vecferry.planning.recipe import load_recipe
from vecferry.planning.yaml import dump_plan, load_plan
from vecferry.protocols import Countable, Database, Fetchable
from vecferry.registry import open_database
from vecferry.transforms import Recipe, View


def store(options: str = "", **collections: Sequence[Record]) -> Database:
    database = open_database(f"memory:{uuid.uuid4()}{options}")
    for name, records in collections.items():
        fill(database, replace(SPEC, name=name), records)
    return database


def planned(source: Database, recipe: str, **options: Any) -> tuple[Database, Plan]:
    """(the view that was planned on, the plan)."""
    seen, wishes = wished(source, PlanOptions(transforms=load_recipe(recipe), **options))
    found = inspected(seen, patterns=wishes.collections)
    return seen, make_plan(found, seen, store(), wishes, target_url="memory:target")


def ids(database: Database, name: str) -> list[str]:
    source = database.source(name)
    chunks = [chunk for partition in source.partitions() for chunk in source.read(partition)]
    return [one.id for chunk in chunks for one in to_records(chunk.batch, source.describe())]


BY_CLIENT = [
    record(f"r{n}", {"client": value} if value is not None else {})
    for n, value in enumerate(["acme", "b&b", "acme", 7, None, True, "7", ["acme"], 1, 1.0])
]


def test_a_split_has_a_flow_for_each_value_and_one_for_the_rest() -> None:
    """Numbers, booleans and texts are told apart; labels are names that stores take; every record is in one flow."""
    source = store(docs=BY_CLIENT)
    seen, plan = planned(source, "collections: [{source: docs, split: client, target: 'x_{value}'}]")
    assert {c.source: (c.target.name, c.records) for c in plan.collections} == {
        "docs@1": ("x_1", 2),
        "docs@7": ("x_7", 1),
        "docs@True": ("x_True", 1),
        "docs@7-4a8a829d": ("x_7-4a8a829d", 1),
        "docs@acme": ("x_acme", 2),
        "docs@b-b-cf362eca": ("x_b-b-cf362eca", 1),
        "docs@other": ("x_other", 2),
    }
    everything = [ident for c in plan.collections for ident in ids(seen, c.source)]
    assert sorted(everything) == [f"r{n}" for n in range(10)]


def test_a_part_keeps_its_name_when_other_values_come() -> None:
    """Else a later run would write one tenant's records into another's collection."""
    rule = "collections: [{source: docs, split: client, target: 'p-{value}'}]"
    few = [record(f"r{n}", {"client": value}) for n, value in enumerate(["a-b", "a/b"])]
    more = [record(f"s{n}", {"client": value}) for n, value in enumerate(["a b", "a", 7, "7", "other", None])]
    named = [
        {c.source: c.target.name for c in planned(store(docs=records), rule)[1].collections}
        for records in (few, few + more)
    ]
    assert named[0].items() <= named[1].items()
    assert len(set(named[1].values())) == 8


def test_a_merge_is_one_flow_with_steps_for_each_part() -> None:
    """Its parts are told apart by what their own rules say; its partitions carry the part that they are of."""
    source = store("?partition_rows=2&chunk_rows=1", a=[record(f"a{n}") for n in range(3)], b=[record("b0")])
    seen, plan = planned(
        source,
        """
        collections:
          - {source: a, target: all, transforms: [constant: {from: a}]}
          - {source: b, target: all, transforms: [constant: {from: b}]}
        """,
    )
    (collection,) = plan.collections
    assert (collection.source, collection.target.name, collection.records) == ("a+b", "all", 4)
    assert [read.collection for read in collection.reads] == ["a", "b"]
    assert {partition.id.partition(":")[0] for partition in collection.partitions} == {"0", "1"}
    opened = seen.source("a+b")
    first, *_, last = collection.partitions
    chunk = next(opened.read(first))
    (rest,) = opened.read(first, after=chunk.position)
    (other,) = opened.read(last)
    found = [to_records(one.batch, opened.describe())[0] for one in (chunk, rest, other)]
    assert [(one.id, one.metadata) for one in found] == [
        ("a0", {"from": "a"}),
        ("a1", {"from": "a"}),
        ("b0", {"from": "b"}),
    ]
    assert isinstance(opened, Fetchable)
    assert sorted(opened.fetch(["b0", "a2", "none"]).column("id").to_pylist()) == ["a2", "b0"]


def test_a_glob_merges_what_a_split_made() -> None:
    """Split by a key into three, and merged back: the records are those that there were."""
    source = store(docs=[record(f"r{n}", {"c": "xyz"[n % 3]}) for n in range(9)])
    seen, plan = planned(source, "collections: [{source: docs, split: c}]")
    parts = store()
    for collection in plan.collections:
        chosen = [record(ident, {"c": "xyz"[int(ident[1:]) % 3]}) for ident in ids(seen, collection.source)]
        fill(parts, replace(SPEC, name=collection.target.name), chosen)
    back, merged = planned(parts, "collections: [{source: docs-*, target: docs}]")
    assert [c.source for c in merged.collections] == ["docs-x+docs-y+docs-z"]
    assert sorted(ids(back, "docs-x+docs-y+docs-z")) == sorted(ids(source, "docs"))


def test_collections_that_differ_are_not_merged() -> None:
    source = store(a=[record("1")])
    fill(source, replace(SPEC, name="b", vectors=(VectorSpec(dim=4),)), [])
    with pytest.raises(ConfigError, match="differ in their vectors"):
        planned(source, "collections: [{source: '*', target: all}]")


def test_what_is_not_transformed_is_not_touched() -> None:
    """No recipe: the source itself. A recipe for one collection: the other is given out as its own source."""
    source = store(a=[record("1")], b=[record("2")])
    assert wished(source, PlanOptions()) == (source, PlanOptions())
    assert wished(source, PlanOptions(collections=("a=c",)))[0] is source
    seen, _ = wished(source, PlanOptions(transforms=load_recipe("collections: [{source: a, transforms: [drop: [x]]}]")))
    assert isinstance(seen, View)
    assert type(seen.source("b")) is type(source.source("b"))
    assert not isinstance(seen.source("a"), Countable)
    assert as_it_is(seen) is source


def test_new_ids_cannot_be_fetched_by() -> None:
    """The store knows the old ones only; so whoever wants single records reads the source again."""
    source = store(a=[record("1")])
    seen, _ = wished(source, PlanOptions(transforms=load_recipe("[{ids: 'x{@id}'}]")))
    assert not isinstance(seen.source("a"), Fetchable)
    assert ids(seen, "a") == ["x1"]


def test_a_record_that_cannot_be_changed_is_a_cell_that_somebody_must_answer() -> None:
    source = store(a=[record("1", {"n": "x"}), record("2", {"n": "2"})])
    _, plan = planned(source, "[{cast: {n: int}}]")
    (cell,) = [cell for cell in plan.collections[0].cells if cell.shape == "transform"]
    assert (cell.count, cell.examples, cell.policy) == (1, ("1",), Policy.REFUSE)
    assert "cannot be cast to int" in cell.meaning
    with pytest.raises(LossRefused, match="transform"):
        check(plan)
    _, accepted = planned(source, "[{cast: {n: int}}]", policies={"transform": Policy.QUARANTINE})
    check(accepted)
    assert accepted.records == 1


def test_a_plan_file_holds_the_transforms_and_gives_them_back() -> None:
    """What is written is read as the same plan, and shows the source as it was planned on."""
    source = store(a=[record("1", {"n": "1"})], b=[record("2", {"n": "2"})])
    seen, plan = planned(
        source,
        """
        collections:
          - {source: a, target: all, transforms: [cast: {n: int}, constant: {from: a}]}
          - {source: b, target: all, transforms: [cast: {n: int}, constant: {from: b}, filter: {n: {$gt: 1}}]}
        """,
    )
    again = load_plan(dump_plan(plan))
    assert again == plan
    assert ids(of_plan(source, again), "a+b") == ids(seen, "a+b") == ["1", "2"]
    flows = load_recipe(dump_plan(plan)).flows
    assert [flow.name for flow in flows] == ["a+b"]
    assert ids(wished(source, PlanOptions(transforms=Recipe(flows=flows)))[0], "a+b") == ["1", "2"]


@pytest.mark.parametrize(
    "text,said",
    [
        ("- {rename: {a: b}, drop: [c]}", "does rename and drop"),
        ("- {renam: {a: b}}", "no field 'renam'"),
        ("- {cast: {a: integer}}", "Invalid enum value"),
        ("collections: [{source: none}]", "does not have"),
        ("collections: [{source: a, target: '{nam}'}]", "cannot be filled"),
        ("- {filter: {a: {$like: x}}}", "no operator"),
        ("- {re_embed: {url: 'https://key@host/v1', model: m}}", "without user"),
        ("- {re_embed: {url: 'https://host/v1', model: m, api_key: sk-123}}", "must be a reference"),
        ("- {re_embed: {url: 'https://host/v1', model: m, call: 'a:b'}}", "exactly one"),
        ("- {re_embed: {by: lang}}", "go together"),
        ("[", "is not YAML"),
        ("7", "Expected"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(text: str, said: str) -> None:
    """Before anything is read, with a hint, and without repeating a key."""
    with pytest.raises(ConfigError) as caught:
        planned(store(a=[record("1")]), text)
    assert said in caught.value.message
    assert caught.value.hint
    assert "sk-123" not in str(caught.value)


def test_a_plan_with_an_impossible_step_names_the_line() -> None:
    _, plan = planned(store(a=[record("1")]), "[{constant: {a: 1}}]")
    text = dump_plan(plan).replace("constant: {a: 1}", "compute: {a: '{'}")
    assert "compute" in text
    with pytest.raises(ConfigError, match=r"line \d+, collections\.0\.transforms"):
        load_plan(text)


def test_names_of_flows_are_found_as_those_of_collections() -> None:
    source = store(docs=BY_CLIENT)
    seen, _ = wished(source, PlanOptions(transforms=load_recipe("collections: [{source: docs, split: client}]")))
    assert seen.source("docs@acme").describe().name == "docs@acme"
    with pytest.raises(NotFound, match="docs"):
        seen.source("docs")


def test_transforms_are_facts_of_a_run() -> None:
    """A resumed run must share them; a plan without any has the facts that it always had."""
    from vecferry.engine.job import job

    source = store(a=[record("1")])
    plain = planned(source, "[]")[1]
    changed, otherwise = (planned(source, f"[{{constant: {{x: {value}}}}}]")[1] for value in (1, 2))
    assert job(changed).fingerprint != job(plain).fingerprint
    assert {name for name, fact in job(changed).facts.items() if job(otherwise).facts[name] != fact} == {
        "'a' transform 1",
        "target",
    }
    assert not [name for name in job(plain).facts if "transform" in name]
    assert isinstance(plain.collections[0], CollectionPlan)
