"""The order of units, and which stay."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vecferry.errors import ConfigError
from vecferry.model import CollectionSpec, Partition, PartitionId
from vecferry.planning.model import CollectionPlan
from vecferry.planning.options import Order, PlanOptions
from vecferry.planning.priority import arranged
from vecferry.tables.units import partition_id, rows_by_unit, share, shown

UNITS = {'"b"': 9, "null": 4, "10": 7, '"a"': 7, "9": 1, '"null"': 2, '" "': 3}


def plan(units: dict[str, int], *, parts: int = 2) -> CollectionPlan:
    partitions = tuple(
        Partition(id=partition_id(unit, f"keys-{n}"), bounds="", estimated_rows=share(rows, n, parts))
        for unit, rows in units.items()
        for n in range(parts)
    )
    return CollectionPlan(source="T", target=CollectionSpec(name="T"), records=0, bytes=0, partitions=partitions)


@pytest.mark.parametrize(
    "order, first, expected",
    [
        (None, (), list(UNITS)),
        (Order.LARGEST, (), ['"b"', "10", '"a"', "null", '" "', '"null"', "9"]),
        (Order.SMALLEST, (), ["9", '"null"', '" "', "null", "10", '"a"', '"b"']),
        (Order.VALUE, (), ["9", "10", '" "', '"a"', '"b"', '"null"', "null"]),
        (None, ("null", '" "', "9"), ["null", '" "', "9", '"b"', "10", '"a"', '"null"']),
        (Order.VALUE, ('"null"', "b"), ['"null"', '"b"', "9", "10", '" "', '"a"', "null"]),
    ],
)
def test_units_in_their_order(order: Order | None, first: tuple[str, ...], expected: list[str]) -> None:
    """Each unit keeps its partitions together and in their order; a text like `null` is told from a null."""
    (made,) = arranged([plan(UNITS)], PlanOptions(order=order, first=first))
    assert list(rows_by_unit(made.partitions)) == expected
    assert [part.id for part in made.partitions] == [
        partition_id(unit, f"keys-{n}") for unit in expected for n in range(2)
    ]
    assert rows_by_unit(made.partitions) == UNITS


def test_what_stays_is_named_or_everything() -> None:
    assert arranged([plan(UNITS)], PlanOptions(stays=("b", "null")))[0].stays == ('"b"', "null")
    assert arranged([plan(UNITS)], PlanOptions(stays=("*",)))[0].stays == tuple(UNITS)
    assert arranged([plan(UNITS)], PlanOptions())[0].stays == ()


@pytest.mark.parametrize("wishes", [{"first": ("c",)}, {"stays": ("b", "c")}])
def test_a_unit_that_nobody_has_is_refused(wishes: dict[str, tuple[str, ...]]) -> None:
    """In one of the collections is enough."""
    with pytest.raises(ConfigError, match="no unit 'c'") as refused:
        arranged([plan(UNITS), plan({'"d"': 1})], PlanOptions(**wishes))  # type: ignore[arg-type]
    assert "d" in (refused.value.hint or "")
    made = arranged([plan(UNITS), plan({'"c"': 1})], PlanOptions(**wishes))  # type: ignore[arg-type]
    assert len(made) == 2


def test_everybody_needs_somebody() -> None:
    """Rows that are read without units would all be moved; a table without rows has none."""
    plain = CollectionPlan(
        source="T", target=CollectionSpec(name="T"), records=1, bytes=0,
        partitions=(Partition(id=PartitionId("keys-0"), bounds=""),),
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"no unit '\*'"):
        arranged([plain], PlanOptions(stays=("*",)))
    assert arranged([plain, plan(UNITS)], PlanOptions(stays=("*",)))[0].stays == ()
    assert arranged([replace(plain, partitions=())], PlanOptions(stays=("*",)))[0].stays == ()


def test_records_of_no_unit_come_first() -> None:
    mixed = plan({'"b"': 1, '"a"': 2}, parts=1)
    mixed = replace(mixed, partitions=(*mixed.partitions, Partition(id=PartitionId("1:keys-0"), bounds="")))
    (made,) = arranged([mixed], PlanOptions(order=Order.VALUE))
    assert [part.id for part in made.partitions] == ["1:keys-0", '"a" keys-0', '"b" keys-0']


@pytest.mark.parametrize(
    "unit, told",
    [("7", "7"), ('"7"', "7"), ('"ann lee"', "ann lee"), ("null", "null"), ('"null"', '"null"'), ('""', '""')],
)
def test_a_unit_for_a_person(unit: str, told: str) -> None:
    assert shown(unit) == told
