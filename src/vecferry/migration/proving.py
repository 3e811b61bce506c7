"""Verify, compare and repair two stores on their own, whoever moved the records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from vecferry.engine.stop import Stop
from vecferry.errors import NotFound
from vecferry.events import Notice, Observer, silent
from vecferry.migration.remembered import set_aside_before, stays_there
from vecferry.migration.staying import told, without
from vecferry.migration.stores import held_still, opened, shown
from vecferry.migration.throttled import Again
from vecferry.migration.views import wished
from vecferry.model import CollectionSpec, Pin
from vecferry.planning.aside import live
from vecferry.planning.flows import transforms_of
from vecferry.planning.inspect import select
from vecferry.planning.options import PlanOptions
from vecferry.planning.patterns import Pattern, parse_patterns
from vecferry.planning.presets import Preset
from vecferry.planning.tabled import by_preset, forms_of, in_units_of, keys_of, read_as, written_forms
from vecferry.protocols import Database, Tabular
from vecferry.report.build import of_verification, store_facts
from vecferry.report.model import Report
from vecferry.report.recorder import Recorder
from vecferry.transforms import Recipe
from vecferry.verification.compare import compare as compare_databases
from vecferry.verification.model import Comparison, RepairResult, Verification, VerifyOptions
from vecferry.verification.repair import repair as repair_databases
from vecferry.verification.run import Pair
from vecferry.verification.run import verify as verify_databases

NOTHING = Recipe()
"""Records are as they are in the source."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A verification, and the report of it."""

    verification: Verification
    report: Report


def verify(
    source: str,
    target: str,
    *,
    collections: Sequence[str] = (),
    transforms: Recipe = NOTHING,
    preset: Preset | None = None,
    options: VerifyOptions | None = None,
    ledger: str | None = None,
    observer: Observer = silent,
    stop: Stop | None = None,
) -> Proof:
    """Compare every record of the collections that both stores should have. Changes nothing.

    Args:
        collections: names, globs, or `old=new` where the target's name is another. A collection that was moved under
            another name by vecferry is found by its card.
        transforms: what was changed on the way; the target is judged against the source as they show it.
        preset: how tables are read: those of the source, or where that has none, of the target.
        ledger: where runs are remembered: what the run that wrote the target set aside is not missing there.

    Raises:
        NotFound: the source has no such collection.
        ConfigError, Unavailable, AuthFailed, CorruptData: a store cannot be read.
    """
    recorder = Recorder(observer)
    with _both(source, target, recorder, stop) as (origin, goal, pin):
        seen, pairs = _seen(origin, goal, (collections, transforms, preset), source, recorder)
        options = _with_set_aside(options, seen, goal, pairs, ledger, recorder, stop)
        seen, options = _without_what_stays(seen, goal, pairs, ledger, options, recorder)
        proof = verify_databases(seen, goal, pairs, options=options, observer=recorder, stop=stop)
        sides = store_facts(origin.identity, shown(source)), store_facts(goal.identity, shown(target))
    return Proof(proof, of_verification(*sides, proof, pin=pin, run=recorder.facts()))


def compare(
    source: str,
    target: str,
    *,
    collections: Sequence[str] = (),
    transforms: Recipe = NOTHING,
    preset: Preset | None = None,
    workers: int = 4,
    options: VerifyOptions | None = None,
    observer: Observer = silent,
    stop: Stop | None = None,
) -> tuple[Comparison, ...]:
    """Measure the same queries against both stores, side by side.

    Raises:
        NotFound: the source has no such collection.
        ConfigError, Unavailable, AuthFailed, CorruptData: a store cannot be read.
    """
    with _both(source, target, observer, stop) as (origin, goal, _):
        seen, pairs = _seen(origin, goal, (collections, transforms, preset), source, observer)
        return compare_databases(seen, goal, pairs, workers=workers, options=options, observer=observer, stop=stop)


def repair(
    source: str,
    target: str,
    *,
    collections: Sequence[str] = (),
    transforms: Recipe = NOTHING,
    preset: Preset | None = None,
    delete_extra: bool = False,
    options: VerifyOptions | None = None,
    ledger: str | None = None,
    observer: Observer = silent,
    stop: Stop | None = None,
) -> RepairResult:
    """Write every missing or changed record of the target again, from the source, and verify anew.

    Records that only the target has are deleted where `delete_extra` says so, else left and reported. Records that the
    run which wrote the target set aside, as `ledger` remembers, are left be and counted.

    Raises:
        NotFound: the source has no such collection.
        ConfigError, Unavailable, AuthFailed, CorruptData: a store cannot be used.
    """
    with _both(source, target, observer, stop) as (origin, goal, _):
        seen, pairs = _seen(origin, goal, (collections, transforms, preset), source, observer)
        options = _with_set_aside(options, seen, goal, pairs, ledger, observer, stop)
        seen, options = _without_what_stays(seen, goal, pairs, ledger, options, observer)
        return repair_databases(
            seen, goal, pairs, delete_extra=delete_extra, options=options, observer=observer, stop=stop
        )


@contextmanager
def _both(
    source: str, target: str, observer: Observer, stop: Stop | None
) -> Iterator[tuple[Database, Database, Pin | None]]:
    again = Again(observer=observer, stop=stop or Stop())
    with held_still(source, again) as (origin, pin), opened(target, again) as goal:
        if next(iter(goal.collections()), None) is None:
            raise NotFound(
                f"{shown(target)} holds no collection; there is nothing to compare with.",
                hint="Check the path or URL of the target.",
            )
        yield origin, goal, pin


def _seen(
    origin: Database,
    goal: Database,
    wish: tuple[Sequence[str], Recipe, Preset | None],
    url: str,
    observer: Observer,
) -> tuple[Database, list[Pair]]:
    """The source as it is wished to be seen, and which collection of it stands where in the target.

    Tables are read as they were when they were moved, by the target's cards, unless transforms or a preset say how.

    Args:
        wish: collections, transforms, preset.
    """
    collections, transforms, preset = wish
    if preset is not None and not isinstance(origin, Tabular):
        read_as(goal, by_preset(goal, PlanOptions(preset=preset)).transforms.tables)
        preset = None
    told = transforms.tables or preset is not None
    forms, conditions = written_forms(origin, goal)
    options = by_preset(origin, PlanOptions(collections=tuple(collections), transforms=transforms, preset=preset))
    read = in_units_of(options.transforms.tables, forms) if told else forms
    options = replace(options, transforms=replace(options.transforms, tables=read))
    seen, options = wished(origin, options, paying=True)
    pairs = pair_up(seen, goal, options.collections, url=url)
    if transforms == NOTHING and preset is None:
        for spec in goal.collections():
            if spec.qualified_name in {there for _, there in pairs} and (done := transforms_of(spec)):
                observer(Notice(collection=spec.name, message=_MOVED_THROUGH.format(", ".join(done))))
    _tell_conditions(seen, {here for here, _ in pairs}, {} if told else conditions, observer)
    return seen, pairs


def _tell_conditions(seen: Database, chosen: set[str], left: Mapping[str, str], observer: Observer) -> None:
    """Say which rows count: all of a table whose card alone tells a condition; none where a plan's fits no row."""
    for name in sorted(chosen & left.keys()):
        observer(Notice(level="warning", collection=name, message=_ALL_ROWS.format(left[name])))
    wheres = {name: form.where for name, form in forms_of(seen, chosen).items() if form.where}
    for spec in seen.collections() if wheres else ():
        if spec.qualified_name in chosen & wheres.keys() and not spec.count:
            message = _NO_ROW.format(wheres[spec.qualified_name])
            observer(Notice(level="warning", collection=spec.name, message=message))


_ALL_ROWS = (
    "Its card says that only some rows were moved ({}), and a card is not believed: all rows are compared. To compare "
    "those alone, say so yourself: --transform PLAN or --preset FILE."
)
_NO_ROW = "No row of the table meets the condition of the plan ({}): nothing is compared."


def _with_set_aside(
    options: VerifyOptions | None,
    seen: Database,
    goal: Database,
    pairs: Sequence[Pair],
    ledger: str | None,
    observer: Observer,
    stop: Stop | None,
) -> VerifyOptions:
    options = options or VerifyOptions()
    tables = {**forms_of(goal, [there for _, there in pairs]), **forms_of(seen, [here for here, _ in pairs])}
    options = replace(options, by=keys_of(tables, options.by))
    aside = set_aside_before(seen, goal, pairs, ledger=ledger, observer=observer, stop=stop or Stop())
    return replace(options, set_aside={**aside, **options.set_aside})


def _without_what_stays(
    seen: Database,
    goal: Database,
    pairs: Sequence[Pair],
    ledger: str | None,
    options: VerifyOptions,
    observer: Observer,
) -> tuple[Database, VerifyOptions]:
    """(the source without the units that are to stay there, options by which the target may hold records of theirs)."""
    stayed = stays_there(seen, goal, pairs, ledger=ledger)
    for name, units in stayed.items():
        observer(Notice(collection=name, message=told(units)))
    shared = options.shared | {there for here, there in pairs if here in stayed}
    return without(seen, stayed), replace(options, shared=shared)


_MOVED_THROUGH = (
    "It was moved through transforms ({}): compare with the same --preset or --transform FILE, or --transform PLAN."
)


def pair_up(origin: Database, goal: Database, collections: Sequence[str], *, url: str) -> list[Pair]:
    """Which collection of the source stands where in the target.

    Raises:
        NotFound: a pattern fits no collection of the source.
    """
    patterns = parse_patterns(collections)
    chosen = select(live(origin, patterns), patterns, store=url)
    there = list(goal.collections())
    return [(spec.qualified_name, _partner(spec, patterns, there)) for spec in chosen]


def _partner(spec: CollectionSpec, patterns: Sequence[Pattern], there: Sequence[CollectionSpec]) -> str:
    """The target's name of a collection: the one given, else the one whose card names it, else its own."""
    given = next((name for pattern in patterns if (name := pattern.rename(spec)) is not None), None)
    if given is not None:
        return given
    mine = [other.qualified_name for other in there if _came_from(other, spec)]
    return mine[0] if len(mine) == 1 else spec.name


def _came_from(other: CollectionSpec, spec: CollectionSpec) -> bool:
    origin = other.card.origin if other.card else {}
    return origin.get("uid") is not None and origin.get("uid") == spec.uid
