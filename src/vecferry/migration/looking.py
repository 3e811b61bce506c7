"""Inspect and plan: everything before the first write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vecferry.events import Observer, silent
from vecferry.migration.patient import patiently
from vecferry.migration.stores import held_still, opened, shown
from vecferry.migration.throttled import Again
from vecferry.migration.views import wished
from vecferry.planning.inspect import inspect as inspect_database
from vecferry.planning.model import Inspection, Plan
from vecferry.planning.options import PlanOptions
from vecferry.planning.plan import make_plan
from vecferry.planning.presets import Preset
from vecferry.planning.tabled import by_preset, forms_of, keys_of, presets_for, read_as


def inspect(
    url: str,
    *,
    collections: Sequence[str] = (),
    by: Sequence[str] = (),
    preset: Preset | None = None,
    observer: Observer = silent,
) -> Inspection:
    """Look at every record of the store behind `url`, read from a snapshot where it may change meanwhile.

    Args:
        by: metadata keys by whose values the records are counted.
        preset: how tables of a SQL store are read.

    Raises:
        ConfigError, Unavailable, AuthFailed, NotFound, CorruptData: the store cannot be read; says what to do.
    """
    with held_still(url, Again(observer=observer)) as (database, pin):
        options = by_preset(database, PlanOptions(collections=tuple(collections), preset=preset))
        read_as(database, options.transforms.tables)
        names, text = presets_for(database)
        found = inspect_database(
            database,
            url=shown(url),
            patterns=options.collections,
            observer=observer,
            pin=pin,
            chunks=patiently(observer),
            by=keys_of(forms_of(database, [spec.qualified_name for spec in database.collections()]), by),
        )
    return replace(found, presets=names, skeleton=text)


def plan(source: str, target: str, *, options: PlanOptions | None = None, observer: Observer = silent) -> Plan:
    """What a migration would do. Cells that need a decision carry the policy `refuse`. Writes nothing.

    Raises:
        ConfigError, Unavailable, AuthFailed, NotFound, CorruptData, IdCollision: says what to do.
    """
    options = options or PlanOptions()
    again = Again(observer=observer)
    with held_still(source, again) as (origin, pin), opened(target, again) as goal:
        seen, options = wished(origin, options)
        found = inspect_database(
            seen,
            url=shown(source),
            patterns=options.collections,
            observer=observer,
            pin=pin,
            rule=options.id_rule,
            limits=goal.limits,
            chunks=patiently(observer),
        )
        return make_plan(found, seen, goal, options, target_url=shown(target))
