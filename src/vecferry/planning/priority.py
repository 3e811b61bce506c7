"""In which order the units of a collection are moved, and which of them stay where they are. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import orjson

from vecferry.errors import ConfigError
from vecferry.planning.model import CollectionPlan
from vecferry.planning.options import Order, PlanOptions
from vecferry.tables.units import rows_by_unit, shown, unit_of

ALL = "*"
"""In the place of a unit: every one that is there when the run begins."""
_NAMED = 10
Rank = Callable[[str, int], tuple[object, ...]]
"""(unit as JSON text, its rows) -> what units are sorted by."""


def rank(options: PlanOptions) -> Rank | None:
    """How the options sort units: those that are named, then the others; None where they say nothing of it."""
    if options.order is None and not options.first:
        return None
    places = {name: place for place, name in enumerate(options.first)}
    order = options.order or Order.LARGEST

    def key(unit: str, rows: int) -> tuple[object, ...]:
        by_rows = {Order.LARGEST: -rows, Order.SMALLEST: rows, Order.VALUE: 0}[order]
        return places.get(shown(unit), len(places)), by_rows, *_by_value(unit)

    return key


def _by_value(unit: str) -> tuple[int, int, str]:
    value = orjson.loads(unit)
    if isinstance(value, int):
        return 0, value, ""
    return (2, 0, "") if value is None else (1, 0, value)


def arranged(plans: Sequence[CollectionPlan], options: PlanOptions) -> list[CollectionPlan]:
    """`plans` with their partitions in the order of their units, and the units that stay.

    Raises:
        ConfigError: no collection has a unit that the options name.
    """
    check_named(plans, options)
    return [_arranged(plan, options) for plan in plans]


def check_named(plans: Sequence[CollectionPlan], options: PlanOptions) -> None:
    """See that there are the units that the options name; `*` needs units at all, where there are rows.

    Raises:
        ConfigError: no collection has such a unit.
    """
    known = {shown(unit) for plan in plans for unit in rows_by_unit(plan.partitions)}
    everyone = bool(known) or not any(plan.partitions for plan in plans)
    named = [name for name in (*options.first, *options.stays) if name not in known and not (name == ALL and everyone)]
    if named:
        some = ", ".join(sorted(known)[:_NAMED]) + (" …" if len(known) > _NAMED else "")
        raise ConfigError(f"There is no unit '{named[0]}'.", hint=f"The units: {some or 'none; add --by COLUMN'}.")


def _arranged(plan: CollectionPlan, options: PlanOptions) -> CollectionPlan:
    rows, key = rows_by_unit(plan.partitions), rank(options)
    stays = tuple(unit for unit in rows if ALL in options.stays or shown(unit) in options.stays)
    if key is None or not rows:
        return replace(plan, stays=stays)
    units = {unit: key(unit, count) for unit, count in rows.items()}
    partitions = sorted(plan.partitions, key=lambda part: units.get(unit_of(part.id) or "", ()))
    return replace(plan, partitions=tuple(partitions), stays=stays)
