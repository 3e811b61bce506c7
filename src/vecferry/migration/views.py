"""The source as the plan wants it seen: itself, or a view of it through transforms, splits and merges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vecferry.layouts import PLAIN
from vecferry.layouts import layout as find_layout
from vecferry.planning.flows import flows_of, plan_flows
from vecferry.planning.model import Plan
from vecferry.planning.options import AUTO, PlanOptions
from vecferry.planning.patterns import parse_patterns
from vecferry.planning.tabled import by_preset, in_units, read_as
from vecferry.protocols import Database
from vecferry.transforms import Cache, Embedders, Flow, Recipe, View, location


def wished(
    origin: Database, options: PlanOptions, *, decided: Plan | None = None, paying: bool = False
) -> tuple[Database, PlanOptions]:
    """(`origin` as `options` want it seen, or an edited plan; the options with patterns that name what is seen).

    Unless `paying`, models are asked for one text alone, and its vector stands for all: that is for planning.

    Raises:
        ConfigError: see `plan_flows` and `by_preset`.
    """
    if decided is not None:
        read_as(origin, decided.tables)
        return _seen(origin, flows_of(decided.collections), paying=paying), options
    options = by_preset(origin, options)
    read_as(origin, options.transforms.tables)
    asked = options.transforms.tables
    options = in_units(origin, options)
    read_as(origin, {name: form for name, form in options.transforms.tables.items() if form != asked.get(name)})
    patterns = parse_patterns(options.collections)
    layout = PLAIN if options.layout == AUTO else find_layout(options.layout)
    changes = replace(options.transforms, tables={})
    if changes == Recipe() and not any(pattern.target for pattern in patterns) and layout.place is None:
        return origin, options
    flows = plan_flows(origin, options.transforms, patterns, layout)
    seen = _seen(origin, flows, paying=paying)
    given = any(rule.target for rule in options.transforms.collections)
    if seen is origin and layout.place is None and not given:
        return origin, options
    return seen, replace(options, collections=tuple(_pattern(flow) for flow in flows))


def of_plan(origin: Database, plan: Plan) -> Database:
    """`origin` as `plan` reads it; models are asked, and paid."""
    read_as(origin, plan.tables)
    return _seen(origin, flows_of(plan.collections), paying=True)


def as_it_is(database: Database) -> Database:
    """The source itself, behind whatever it is seen through."""
    return database.database if isinstance(database, View) else database


def read_by(plan: Plan) -> list[str]:
    """The collections of the source that `plan` reads, each once, by their qualified names."""
    return list(dict.fromkeys(read.collection for flow in flows_of(plan.collections) for read in flow.reads))


def _seen(origin: Database, flows: Sequence[Flow], *, paying: bool) -> Database:
    if all(flow.plain for flow in flows):
        return origin
    return View(origin, flows, Embedders(Cache(location()), paying=paying))


def _pattern(flow: Flow) -> str:
    return flow.name if flow.target is None else f"{flow.name}={flow.target}"
