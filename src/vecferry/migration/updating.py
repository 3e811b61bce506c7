"""`sync`: bring a target up to date with a source that has changed since. A migration that writes only what differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vecferry.engine.stop import Stop
from vecferry.errors import ConfigError
from vecferry.events import Observer, silent
from vecferry.migration.moving import migrate
from vecferry.migration.proving import pair_up
from vecferry.migration.result import Migration
from vecferry.migration.settings import Ask, Settings
from vecferry.migration.stores import opened, shown
from vecferry.planning.model import IfExists
from vecferry.planning.options import PlanOptions
from vecferry.planning.presets import Preset
from vecferry.planning.tabled import by_preset, in_units_of, read_as, written_forms
from vecferry.transforms import Recipe, Rule


def sync(
    source: str,
    target: str,
    *,
    collections: Sequence[str] = (),
    settings: Settings | None = None,
    ask: Ask | None = None,
    observer: Observer = silent,
    stop: Stop | None = None,
) -> Migration:
    """Compare every record, write what the target lacks or has otherwise, and verify.

    A collection that vecferry moved under another name is found by its card, and keeps the layout and the id rule that
    stand there. One that the target does not have is copied. Records that only the target has are deleted where
    `settings.delete_extra` says so, else left and reported. Killed in the middle, the same call goes on.

    Args:
        collections: names, globs, or `old=new` where the target's name is another.

    Raises:
        NotFound: the source has no such collection.
        Everything that `migrate` raises.
    """
    settings = settings or Settings()
    named, transforms = tuple(collections), settings.plan.transforms
    if transforms == Recipe():  # else the transforms say what goes where
        named, transforms = _named(source, target, collections, settings.plan.preset)
    else:
        with opened(source) as origin, opened(target) as goal:
            transforms = replace(transforms, tables=in_units_of(transforms.tables, written_forms(origin, goal)[0]))
    wishes = replace(settings.plan, collections=named, transforms=transforms, if_exists=IfExists.SYNC)
    return migrate(source, target, settings=replace(settings, plan=wishes), ask=ask, observer=observer, stop=stop)


def _named(
    source: str, target: str, collections: Sequence[str], preset: Preset | None
) -> tuple[tuple[str, ...], Recipe]:
    """Each collection with the name that it has in the target, as `old=new`; and how its table is to be read.

    That is as it was read when it was moved, unless a preset says how. One with transforms says what goes where, too.
    """
    with opened(source) as origin, opened(target) as goal:
        wishes = by_preset(origin, PlanOptions(collections=tuple(collections), preset=preset))
        forms, conditions = written_forms(origin, goal)
        forms, conditions = (in_units_of(wishes.transforms.tables, forms), {}) if preset else (forms, conditions)
        read = Recipe(tables=forms)
        if any(rule != Rule(source=rule.source) for rule in wishes.transforms.collections):
            return tuple(collections), Recipe(tables={name: form for name, form in forms.items() if form.by})
        read_as(origin, read.tables)
        pairs = pair_up(origin, goal, wishes.collections, url=shown(source))
    for name in sorted(conditions.keys() & {here for here, _ in pairs}):
        raise ConfigError(
            f"The card of what was made of '{name}' says that only some rows were moved: {conditions[name]}.",
            hint="A card is not believed: say yourself which rows are meant, with --transform PLAN or --preset FILE.",
        )
    return tuple(f"{here}={there.rpartition('/')[2]}" for here, there in pairs), read
