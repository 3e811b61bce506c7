"""From a transform file and the collections of a source to the flows of a plan: what is split, merged, renamed."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from vecferry.arrow import utf8
from vecferry.errors import ConfigError
from vecferry.filters import Scalar
from vecferry.layouts import PLAIN, Layout
from vecferry.model import CollectionSpec, JsonObject
from vecferry.planning.aside import live
from vecferry.planning.inspect import select
from vecferry.planning.model import CollectionPlan
from vecferry.planning.names import fill
from vecferry.planning.patterns import Pattern
from vecferry.protocols import Database
from vecferry.tags import unpack
from vecferry.transforms import Flow, Read, Recipe, Rule, Step, View

_MOST_VALUES = 1_000
_NAMED = 3
"""Collections that a merged flow is called after; more are counted."""
_LABEL = 64
"""Characters of a value that go into a name."""
_OTHER = "other"
_LIKE_ANOTHER = re.compile(rf"-?[0-9.]+(e[+-]?[0-9]+)?|True|False|{_OTHER}")
"""The part of a split for records without a value, or with a list or an object."""


def plan_flows(
    database: Database, recipe: Recipe, patterns: Sequence[Pattern], layout: Layout = PLAIN
) -> tuple[Flow, ...]:
    """The flows of every collection that `patterns` name (all, where there are none), in the source's order.

    Collections that were given one name become one flow. A split reads its collection once, for the values. What is
    given no name, and that is the place in `layout` where its framework looks for it, goes there.

    Raises:
        NotFound: a pattern fits no collection.
        ConfigError: a rule fits no collection, a name cannot be filled, or a key has too many values to split by.
    """
    if recipe.flows:
        return tuple(flow for flow in recipe.flows if not patterns or any(p.fits(_named(flow)) for p in patterns))
    specs = live(database, [*patterns, *map(_pattern, recipe.collections)])
    for rule in recipe.collections:
        if not any(_pattern(rule).fits(spec) for spec in specs):
            known = ", ".join(spec.name for spec in specs[:10])
            message = f"The transform file names the collection '{rule.source}', which the source does not have."
            raise ConfigError(message, hint=f"It has: {known}.")
    chosen = select(specs, patterns, store=database.identity.where) if patterns else specs
    made = [flow for spec in chosen for flow in _flows(spec, recipe, patterns, database)]
    made = [_placed(flow, layout) for flow in made]
    return tuple(_merged(_apart(made)))


def _named(flow: Flow) -> CollectionSpec:
    """A spec that has nothing but the flow's name, for patterns."""
    *namespace, name = flow.name.split("/")
    return CollectionSpec(name=name, namespace=tuple(namespace))


def flows_of(collections: Iterable[CollectionPlan]) -> tuple[Flow, ...]:
    """The flows that a plan has worked out already."""
    return tuple(
        Flow(name=c.source, reads=c.reads or itself(c.source), transforms=c.transforms, target=c.target.name)
        for c in collections
    )


def flow_of(source: Database, name: str) -> Flow:
    """How `source` shows the collection `name`: through transforms, or as it is."""
    return source.flow(name) if isinstance(source, View) else Flow(name=name, reads=itself(name))


def kinds_of(flow: Flow) -> list[str]:
    """The kinds of transforms in a flow, each once."""
    steps = (*(step for read in flow.reads for step in read.transforms), *flow.transforms)
    return list(dict.fromkeys(step.kind for step in steps))


def transforms_of(spec: CollectionSpec) -> list[str]:
    """The kinds of transforms through which records came into a collection that we wrote, as its card tells."""
    return list(spec.card.origin.get("transforms", ())) if spec.card is not None else []


def itself(name: str) -> tuple[Read, ...]:
    """What a flow reads that is neither a split nor a merge."""
    return (Read(collection=name),)


def _pattern(rule: Rule) -> Pattern:
    return Pattern(rule.source)


def _flows(spec: CollectionSpec, recipe: Recipe, patterns: Sequence[Pattern], database: Database) -> Iterator[Flow]:
    """What one collection becomes; an exact name goes before a glob."""
    ranked = sorted(recipe.collections, key=lambda rule: "*" in rule.source)
    rule = next((rule for rule in ranked if _pattern(rule).fits(spec)), None)
    steps = rule.transforms if rule is not None else recipe.transforms
    told = _told(spec, patterns)
    template = told or (rule.target if rule is not None else None)
    if rule is None or rule.split is None:
        yield Flow(
            name=spec.qualified_name,
            reads=itself(spec.qualified_name),
            transforms=steps,
            target=_filled(template, rule, spec, ""),
        )
        return
    for label, where in _parts(database, spec, rule.split):
        yield Flow(
            name=f"{spec.qualified_name}@{label}",
            reads=itself(spec.qualified_name),
            transforms=(Step(filter=where), *steps),
            target=_filled(template or "{name}-{value}", rule, spec, label),
        )


def _placed(flow: Flow, layout: Layout) -> Flow:
    """`flow` where the framework of `layout` looks for a collection of its name, marked with that name if need be."""
    name = _named(flow).name
    if layout.place is None or flow.target is not None or layout.place(name) == name:
        return flow
    marks = tuple(Step(compute={key: "{@collection}"}) for key in layout.lifted)
    return replace(flow, target=layout.place(name), transforms=(*flow.transforms, *marks))


def _told(spec: CollectionSpec, patterns: Sequence[Pattern]) -> str | None:
    ranked = sorted(patterns, key=lambda pattern: "*" in pattern.source)
    return next((name for pattern in ranked if (name := pattern.rename(spec)) is not None), None)


def _filled(template: str | None, rule: Rule | None, spec: CollectionSpec, value: str) -> str | None:
    if template is None:
        return None
    if rule is not None and "*" in template:
        template = Pattern(rule.source, template).rename(spec) or template
    return fill(template.replace("{value}", value), spec) if "{" in template else template


# --------------------------------------------------------------------------- splitting


def _parts(database: Database, spec: CollectionSpec, key: str) -> Iterator[tuple[str, JsonObject]]:
    """(label, filter) of each value under `key`, in their order, then of the records that have none."""
    values, others = _values(database, spec, key)
    for value in sorted(values, key=lambda value: (isinstance(value, str), str(value))):
        yield _label(value), {key: value}
    if others:
        yield _OTHER, {key: {"$nin": list(values)}} if values else {key: {"$exists": False}}


def _values(database: Database, spec: CollectionSpec, key: str) -> tuple[list[Scalar], bool]:
    """The different scalars under `key`, and whether a record has none; 1 and 1.0 are one value, 1 and true are two."""
    found: dict[tuple[bool, Scalar], Scalar] = {}
    others = False
    source = database.source(spec.qualified_name)
    try:
        for partition in source.partitions():
            for chunk in source.read(partition):
                for raw, tags in zip(utf8(chunk.batch, "metadata"), utf8(chunk.batch, "tags"), strict=True):
                    value = None if raw is None else unpack(raw, tags).get(key)
                    if isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
                        found.setdefault((isinstance(value, bool), value), value)
                    else:
                        others = True
                if len(found) > _MOST_VALUES:
                    raise ConfigError(
                        f"'{spec.name}' has more than {_MOST_VALUES:,} values under '{key}': too many collections.",
                        hint="Split by another key, or keep one collection and use a tenant index (--tenant-key).",
                    )
    finally:
        source.close()
    return list(found.values()), others


def _label(value: Scalar) -> str:
    """A name for `value` that every store takes, and that depends on nothing but the value.

    A later run with more values must find each part where it was. So a few characters of a hash follow wherever the
    name does not tell the value, or a text reads as a number, a boolean or the rest.
    """
    text = str(value)
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:_LABEL] or "value"
    if plain == text and not (isinstance(value, str) and _LIKE_ANOTHER.fullmatch(text)):
        return plain
    return f"{plain}-{hashlib.blake2b(f'{type(value).__name__}:{text}'.encode(), digest_size=4).hexdigest()}"


# --------------------------------------------------------------------------- merging


def _apart(flows: Sequence[Flow]) -> Iterator[Flow]:
    """`flows` with different names."""
    used: set[str] = set()
    for flow in flows:
        name, number = flow.name, 2
        while name in used:
            name, number = f"{flow.name}-{number}", number + 1
        used.add(name)
        yield replace(flow, name=name)


def _merged(flows: Iterable[Flow]) -> list[Flow]:
    """`flows`, those that were given one name as one."""
    groups: dict[str, list[Flow]] = {}
    for flow in flows:
        groups.setdefault(f"={flow.target}" if flow.target is not None else flow.name, []).append(flow)
    return [_one(group) for group in groups.values()]


def _one(group: Sequence[Flow]) -> Flow:
    if len(group) == 1:
        return group[0]
    reads = tuple(
        replace(read, transforms=(*read.transforms, *flow.transforms)) for flow in group for read in flow.reads
    )
    first = group[0].name
    others = [flow.name.rpartition("/")[2] for flow in group[1:]]
    more = [f"{len(others) - _NAMED + 1} more"] if len(others) >= _NAMED else []
    return Flow(name="+".join([first, *others[: _NAMED - 1], *more]), reads=reads, target=group[0].target)
