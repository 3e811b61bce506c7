"""`retire`: remove a source that was moved, once an archive of it is verified.

The archive is compared with the source after the name was typed and right before the removal, whoever made it: what was
written in between would be lost otherwise. So is the target that the ledger knows: what was written since it was moved
would be lost to the app.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from unicodedata import normalize

from vecferry.engine.job import load_plan
from vecferry.engine.stop import Stop
from vecferry.errors import ConfigError, Conflict, DataError
from vecferry.events import Observer, silent
from vecferry.migration.arrived import Arrival, arrivals, check_arrived
from vecferry.migration.journal import LOOKED_AT
from vecferry.migration.moving import migrate
from vecferry.migration.removing import remove, set_aside, watched
from vecferry.migration.settings import Settings
from vecferry.migration.stores import held_still, opened, shown
from vecferry.model import Belongings, CollectionSpec
from vecferry.planning.aside import is_aside
from vecferry.planning.flows import flows_of
from vecferry.planning.inspect import select
from vecferry.planning.names import fill
from vecferry.planning.options import PlanOptions
from vecferry.planning.patterns import parse_patterns
from vecferry.planning.tabled import forms_of, read_as
from vecferry.protocols import Database, Droppable, Removable, Renamable, require
from vecferry.state.ledger import Ledger, new_run_id
from vecferry.state.model import Outcome, RunInfo, Step
from vecferry.url import StoreUrl
from vecferry.verification.model import DATA_LEVELS, VerifyOptions
from vecferry.verification.run import Pair, verify

ARCHIVES = Path("vecferry-archives")
"""Where archives of retired sources lie by default: a folder of the working directory."""
_ARCHIVE_KINDS = frozenset({"files", "json", "jsonl"})
"""Stores that no app is served from: a copy there is an archive, not a migration."""
_LONGEST = 120
"""Bytes of the name of a default archive, without its date: file systems take 255."""
_SERVERS = frozenset({"http", "https", "cloud"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Retirement:
    """What is to be removed, or was.

    Attributes:
        belongings: the whole store, where it is removed as a whole; None where single collections are dropped.
        name: what must be typed; what: the same for a person.
        archive: URL of the archive that holds all of it.
        moved: source collection -> the verified run that moved it, and where to.
        aside: source collection -> the name that it gets instead of being dropped.
    """

    source: str
    collections: tuple[CollectionSpec, ...]
    name: str
    what: str
    archive: str
    belongings: Belongings | None = None
    moved: tuple[tuple[str, str], ...] = ()
    aside: Mapping[str, str] = field(default_factory=dict)

    @property
    def records(self) -> int:
        return sum(spec.count or 0 for spec in self.collections)


Agree = Callable[[Retirement], bool]
"""Was the name typed?"""


def retire(
    source: str,
    *,
    agree: Agree,
    collections: Sequence[str] = (),
    archive: str | None = None,
    into: str | None = None,
    unverified: bool = False,
    drop: bool = False,
    ledger: str | None = None,
    observer: Observer = silent,
    stop: Stop | None = None,
) -> Retirement | None:
    """Archive `source`, ask, compare source and archive, remove the source. None where nobody agreed.

    Args:
        collections: names or globs; only these are dropped. None: the store as a whole, where it can be removed so.
        archive: URL of an archive that is there already; else one is made at the URL `into`, or in `ARCHIVES`.
        unverified: remove it although the ledger knows no verified migration of it; no target is looked at.
        drop: remove also what could be renamed instead. What was set aside before needs no migration known any more.

    Raises:
        Conflict: other things are among what would be removed; or it is not known to have been moved, or was written
            to since, or its target cannot be opened. Nothing is removed.
        DataError: source and archive differ, or a target lacks what the source holds now. Nothing is removed.
        ConfigError: the archive is the source itself, lies in it, or is a server.
        ConfigError, Unsupported, ConnectorError, LedgerError: a store or the ledger cannot be used.
    """
    _check_apart(source, archive or into or f"files:{ARCHIVES}")
    with opened(source) as origin:
        found = _look(origin, source, collections, archive or into or "", drop=drop)
        moved = _moved(found.collections, origin, ledger)
        asked = [spec for spec in found.collections if not (isinstance(origin, Renamable) and is_aside(spec))]
    if not unverified:
        _refuse_unmoved(asked, moved)
    made = archive or _archived(found, into, ledger, observer, stop)
    runs = tuple((name, f"run {info.id} to {info.target}") for name, info in moved.items())
    agreed = replace(found, archive=made, moved=runs)
    if not agree(agreed):
        return None
    known = [] if unverified else arrivals(moved, ledger)
    with watched(source, agreed.collections if agreed.belongings is None else ()) as changed:
        _prove(agreed, source, known, observer, stop)
        remove(source, agreed.belongings, agreed.collections, changed, agreed.aside)
    return agreed


def _check_apart(source: str, archive: str) -> None:
    """An archive that is the source itself equals it in every record, and would go with it."""
    here, there = StoreUrl.parse(source), StoreUrl.parse(archive)
    if there.transport in _SERVERS:
        raise ConfigError(
            f"{there} is a server, and no archive.", hint="Name a folder or a file: files:DIR, files+s3://…, json:FILE."
        )
    if there.host is not None or here.host is not None:
        together = (here.host, here.path.strip("/")) == (there.host, there.path.strip("/"))
    else:
        together = there.local_path.resolve().is_relative_to(here.local_path.resolve())
    if together:
        raise ConfigError(
            f"The archive {there} would be removed with {here}.", hint="Put the archive elsewhere: --into files:DIR."
        )


# --------------------------------------------------------------------------- what would be removed


def _look(origin: Database, url: str, patterns: Sequence[str], archive: str, *, drop: bool) -> Retirement:
    parsed = parse_patterns(patterns)
    if renaming := [pattern.source for pattern in parsed if pattern.target]:
        raise ConfigError(f"'{renaming[0]}' is given a new name.", hint="Name collections as the source calls them.")
    chosen = tuple(select(list(origin.collections()), parsed, store=shown(url)))
    if not patterns and isinstance(origin, Removable):
        all_of_it = origin.belongings()
        return Retirement(
            source=shown(url), collections=chosen, name=all_of_it.name, what=all_of_it.what, archive=archive,
            belongings=all_of_it,
        )  # fmt: skip
    require(origin, Droppable, operation="drop a collection", instead="Remove it with the store's own means.")
    if not drop and isinstance(origin, Renamable):
        chosen = _to_be_renamed(chosen, named=bool(patterns))
    where = origin.identity.where
    name = chosen[0].name if len(chosen) == 1 else where.rstrip("/").rpartition("/")[2]
    what = f"{len(chosen)} collections of {where}" if len(chosen) > 1 else f"the collection '{name}' of {where}"
    aside = set_aside(chosen) if isinstance(origin, Renamable) and not drop else {}
    return Retirement(source=shown(url), collections=chosen, name=name, what=what, archive=archive, aside=aside)


def _to_be_renamed(chosen: Sequence[CollectionSpec], *, named: bool) -> tuple[CollectionSpec, ...]:
    """Those that were not set aside before.

    Raises:
        Conflict: one that was is named, or there is no other.
    """
    aside = [spec.name for spec in chosen if is_aside(spec)]
    if aside and (named or len(aside) == len(chosen)):
        raise Conflict(
            f"'{aside[0]}' is set aside already. Nothing was removed.",
            hint="Drop it with --drop, or give it its name back with --undo.",
        )
    return tuple(spec for spec in chosen if not is_aside(spec))


# --------------------------------------------------------------------------- was it moved?


def _moved(collections: Sequence[CollectionSpec], origin: Database, ledger: str | None) -> dict[str, RunInfo]:
    """Collection -> the latest verified run that moved it to where an app can use it, with as many records as now."""
    where = f"{origin.identity.kind} {origin.identity.where}"
    counts = {spec.qualified_name: spec.count for spec in collections}
    found: dict[str, RunInfo] = {}
    with Ledger(ledger) as opened_ledger:
        for info in opened_ledger.history(limit=LOOKED_AT):
            if info.source == where and info.outcome is Outcome.DONE and _is_served(info):
                for name in _verified(info, counts):
                    found.setdefault(name, info)
    return found


def _is_served(info: RunInfo) -> bool:
    return info.target.partition(" ")[0] not in _ARCHIVE_KINDS


def _verified(info: RunInfo, counts: dict[str, int | None]) -> list[str]:
    """The collections of the source that this run moved and verified; not those that hold another number now."""
    steps = {state.source: state.step for state in info.collections}
    names = []
    for collection in load_plan(info.plan).collections:
        if not steps[collection.source].reached(Step.VERIFIED):
            continue
        for flow in flows_of([collection]):
            reads = [read.collection for read in flow.reads]
            same = not flow.plain or counts.get(collection.source) in {None, collection.records}
            names += [name for name in reads if name in counts and same]
    return names


def _refuse_unmoved(collections: Sequence[CollectionSpec], moved: dict[str, RunInfo]) -> None:
    left = [spec.qualified_name for spec in collections if spec.qualified_name not in moved]
    if left:
        raise Conflict(
            f"The ledger knows no verified migration of what {', '.join(repr(name) for name in left)} holds now. "
            "Nothing was removed.",
            hint="Migrate it first, or bring the target up to date with `vecferry sync`. If it was moved by other "
            "means, or is not needed: --unverified.",
        )


# --------------------------------------------------------------------------- the archive


def _archived(found: Retirement, into: str | None, ledger: str | None, observer: Observer, stop: Stop | None) -> str:
    """URL of a new archive of the collections; it is compared later."""
    archive = into or f"files:{ARCHIVES / f'{folder_name(found.name)}-{new_run_id()}'}"
    wishes = PlanOptions(collections=tuple(s.qualified_name for s in found.collections), name=_template(found))
    settings = Settings(plan=wishes, verify=None, ledger=ledger, reports=None)
    migrate(found.source, archive, settings=settings, observer=observer, stop=stop)
    return archive


def folder_name(name: str) -> str:
    """`name` as a folder is called without quotes in a shell or escapes in a URL: letters, digits, `.`, `_` and `-`."""
    plain = "".join(char if char.isalnum() or char in "._-" else "-" for char in normalize("NFC", name))
    short = re.sub("-+", "-", plain).encode()[:_LONGEST].decode(errors="ignore").strip("-.")
    return short or "archive"


def _template(found: Retirement) -> str:
    """How an archive calls the collections of a store with namespaces, of which it has none."""
    names = [spec.name for spec in found.collections]
    return "{name}" if len(set(names)) == len(names) else "{namespace}_{name}"


def _prove(found: Retirement, source: str, moved: Sequence[Arrival], observer: Observer, stop: Stop | None) -> None:
    with held_still(source) as (origin, _), opened(found.archive) as archive:
        plainly = forms_of(origin, [spec.qualified_name for spec in found.collections])
        for arrival in moved:
            check_arrived(arrival, origin, found.source, observer=observer, stop=stop)
        read_as(origin, plainly)  # tables that were moved by a preset are compared as the archive holds them
        pairs = _same_names(found, archive)
        proof = verify(origin, archive, pairs, options=VerifyOptions(levels=DATA_LEVELS), observer=observer, stop=stop)
    if not proof.identical or proof.differences:
        what = f"differ in {proof.differences:,} places" if proof.differences else "could not be compared to the end"
        named = [part for here, there in pairs for part in ("-c", f"{here}={there}")]
        raise DataError(
            f"{found.source} and its archive {found.archive} {what}. Nothing was removed.",
            hint=f"Look at what differs: {shlex.join(['vecferry', 'verify', found.source, found.archive, *named])}",
        )


def _same_names(found: Retirement, archive: Database) -> list[Pair]:
    """Each collection with its name in the archive, which is its own: the way back gives it the name it has there."""
    there = {spec.qualified_name for spec in archive.collections()}
    template = _template(found)
    pairs = [
        (spec.qualified_name, spec.qualified_name if spec.qualified_name in there else fill(template, spec))
        for spec in found.collections
    ]
    if missing := [here for here, name in pairs if name not in there]:
        raise DataError(
            f"The archive {found.archive} holds no collection named {', '.join(map(repr, missing))}; it holds "
            f"{', '.join(map(repr, sorted(there))) or 'none'}. Nothing was removed.",
            hint="An archive must hold each collection under its own name, or the way back gives it another. "
            "Leave --archive out: a new one is made.",
        )
    return pairs
