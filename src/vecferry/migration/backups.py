"""`backup` and `restore`: verified archives under dated names in one folder or prefix, of which the oldest go.

    TARGET/20261121T184500Z/                        an archive, as `files:` writes it
    TARGET/20261121T184500Z/.vecferry-backup.json   our mark: of which source, when, and whether it was verified

Only what bears the mark is ever continued, restored as "the latest", or removed. The mark says `begun` before the first
record is written, `verified` when every record was compared, and `removing` before the first file goes: so a process
that is killed anywhere leaves nothing that looks whole and is not. While it is written it also says by whom, and that
this process lives: no other one goes on with it or removes it meanwhile, however long it takes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import msgspec

from vecferry.engine.stop import Stop
from vecferry.errors import ConfigError, CorruptData, LedgerError, NotFound, RunLocked
from vecferry.events import Notice, Observer, silent
from vecferry.migration.marks import (
    BEGUN,
    MARK,
    REMOVING,
    VERIFIED,
    Backup,
    Hold,
    Mark,
    note,
    now,
    read_mark,
    refuse_writer,
)
from vecferry.migration.moving import migrate
from vecferry.migration.result import Migration
from vecferry.migration.settings import Ask, Settings
from vecferry.migration.stores import opened
from vecferry.objects.place import Place, open_place
from vecferry.planning.inspect import select
from vecferry.planning.model import IfExists, Policy
from vecferry.planning.options import PlanOptions
from vecferry.planning.patterns import parse_patterns
from vecferry.url import StoreUrl

MANIFEST = "manifest.json"
_DATED = re.compile(r"\d{8}T\d{6}Z")
_DATE = "%Y%m%dT%H%M%SZ"
_GOES_ON_WITHIN = timedelta(hours=24)
"""A backup that was cut off is continued for so long; then it is given up, since what it holds is old."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupResult:
    """How a backup went. `kept` and `removed` are the verified ones of the same choice, newest first."""

    made: Backup
    migration: Migration
    kept: tuple[Backup, ...]
    removed: tuple[str, ...] = ()

    @property
    def verified(self) -> bool:
        return self.made.mark.state == VERIFIED


def backup(
    source: str,
    target: str,
    *,
    keep: int | None = None,
    collections: Sequence[str] = (),
    policies: dict[str, Policy] | None = None,
    ledger: str | None = None,
    reports: Path | None = None,
    observer: Observer = silent,
    stop: Stop | None = None,
) -> BackupResult:
    """Archive `source` under a new dated name below `target`, verify it, then remove what is beyond the newest `keep`.

    One that was cut off within the last day is continued instead, from the snapshot that it began with. Backups of
    other stores, and of another choice of `collections`, are none of its business.

    Raises:
        RunLocked: another process is writing such a backup.
        ConfigError: `target` is no folder or prefix for archives, or none is to be kept.
        LossRefused: the source holds what an archive cannot (NaN in vectors), and no policy accepts it.
        Interrupted, ConnectorError, LedgerError: stopped; the same call goes on.
    """
    if keep is not None and keep < 1:
        raise ConfigError(f"{keep} backups cannot be kept.", hint="Keep one at least: the new one.")
    url = _folder(target)
    root, (where, template), choice = open_place(url), _source(source, collections), tuple(sorted(set(collections)))
    found = _series(url, root, where, choice)
    began = now()
    cut = [one for one in found if one.mark.state == BEGUN and began - one.mark.heard < _GOES_ON_WITHIN]
    made = cut[0] if cut else _begin(url, root, Mark(state=BEGUN, source=where, collections=choice, begun=began))
    wishes = PlanOptions(
        collections=tuple(collections), name=template, policies=policies or {}, if_exists=IfExists.RECREATE
    )
    settings, stop = Settings(plan=wishes, no_backup=True, ledger=ledger, reports=reports), stop or Stop()
    with Hold(root, made, stop) as hold:
        done = _migrated(source, made, settings, observer, stop, again=bool(cut))
        if done.verification is None or done.verification.differences or not done.verification.sound:
            return BackupResult(made=made, migration=done, kept=_verified(found))
        hold.prove()
        made = _verify(root, made, done)
    kept = _verified([made, *found])
    doomed = kept[keep:] if keep is not None else ()
    stale = [one for one in found if one not in kept and one not in cut]
    for one in (*doomed, *stale):
        _remove(root, one)
        observer(Notice(message=f"Removed the backup {one.name}."))
    left = tuple(one for one in kept if one not in doomed)
    return BackupResult(made=made, migration=done, kept=left, removed=tuple(one.name for one in doomed))


def _series(url: StoreUrl, root: Place, source: str, collections: tuple[str, ...]) -> list[Backup]:
    """The backups of one store and choice of collections.

    Raises:
        RunLocked: another process is writing one of them.
    """
    found = [one for one in _backups(url, root) if (one.mark.source, one.mark.collections) == (source, collections)]
    for one in found:
        refuse_writer(one)
    return found


def restore(
    archive: str,
    target: str,
    *,
    at: str | None = None,
    settings: Settings | None = None,
    ask: Ask | None = None,
    observer: Observer = silent,
    stop: Stop | None = None,
) -> Migration:
    """Move a backup back into a store, and verify every record.

    Args:
        archive: a folder or prefix of backups, of which the latest verified one is meant, or an archive itself.
        at: the name of another backup, or its beginning: `20261121`.

    Raises:
        NotFound: there is no verified backup. ConfigError: it is not clear which one is meant.
        CorruptData: the archive is not the one that was verified. Otherwise as `migrate` raises.
    """
    return migrate(chosen(archive, at), target, settings=settings, ask=ask, observer=observer, stop=stop)


def backups(target: str) -> tuple[Backup, ...]:
    """The verified backups below `target`, newest first."""
    url = _folder(target)
    return _verified(_backups(url, open_place(url)))


def chosen(archive: str, at: str | None = None) -> str:
    """URL of the archive that `restore` would take; see there."""
    url = _folder(archive)
    root = open_place(url)
    if at is None and root.exists(MANIFEST):
        if (mark := read_mark(root)) is not None:
            _check(str(url), root, mark)
        return str(url)
    every = _verified(_backups(url, root))
    found = [one for one in every if at is None or one.name.startswith(at)]
    if not found:
        names = ", ".join(one.name for one in every[:5])
        raise NotFound(
            f"There is no verified backup{f' {at}' if at else ''} in {url}.",
            store=str(url),
            hint=f"There are: {names}." if names else "`vecferry backup SOURCE TARGET` makes one.",
        )
    if len({(one.mark.source, one.mark.collections) for one in found}) > 1:
        several = ", ".join(f"{one.name} of {_what(one.mark)}" for one in found[:5])
        raise ConfigError(
            f"{url} holds backups of several stores, or of several choices of collections.",
            hint=f"Name one with --at NAME: {several}.",
        )
    _check(found[0].url, root.below(found[0].name), found[0].mark)
    return found[0].url


# --------------------------------------------------------------------------- one backup


def _begin(url: StoreUrl, root: Place, mark: Mark) -> Backup:
    there, begun = set(root.names()), mark.begun
    while (name := begun.strftime(_DATE)) in there:
        begun += timedelta(seconds=1)
    made = Backup(name=name, url=_below(url, name), mark=msgspec.structs.replace(mark, begun=begun))
    root.below(name).make()
    return note(root, made)


def _migrated(
    source: str, made: Backup, settings: Settings, observer: Observer, stop: Stop | None, *, again: bool
) -> Migration:
    """The archive, written; begun anew where the one that was cut off cannot be continued."""
    try:
        return migrate(source, made.url, settings=settings, observer=observer, stop=stop)
    except RunLocked:
        raise
    except LedgerError:
        if not again:
            raise
        return migrate(source, made.url, settings=replace(settings, restart=True), observer=observer, stop=stop)


def _verify(root: Place, made: Backup, done: Migration) -> Backup:
    mark = msgspec.structs.replace(
        made.mark,
        state=VERIFIED,
        run=done.run.run if done.run else "",
        records=done.records,
        manifest=_manifest(root.below(made.name)),
        owner="",
        alive=None,
    )
    return note(root, replace(made, mark=mark))


def _check(shown: str, place: Place, mark: Mark) -> None:
    """The archive's manifest proves all its other files; the mark proves the manifest."""
    if mark.state != VERIFIED:
        raise CorruptData(
            f"{shown} was never verified: it may hold a part of its source.",
            hint=f"Restore another backup. What there is of this one: vecferry migrate {shown} TARGET",
        )
    if _manifest(place) != mark.manifest:
        raise CorruptData(f"{shown} was changed since it was verified.", hint="Restore an earlier one with --at NAME.")


def _what(mark: Mark) -> str:
    return f"{mark.source} ({', '.join(mark.collections)})" if mark.collections else mark.source


def _manifest(place: Place) -> str:
    try:
        return hashlib.sha256(place.read(MANIFEST)).hexdigest()
    except FileNotFoundError:
        return ""


def _remove(root: Place, one: Backup) -> None:
    """The mark goes last: what a killed process leaves is known for ours by the next one, and goes then."""
    note(root, replace(one, mark=msgspec.structs.replace(one.mark, state=REMOVING)))
    place = root.below(one.name)
    rest = [name for name in place.names() if name != MARK]
    for name in rest:
        place.below(name).remove_all()
    place.remove(rest)
    if place.names() == [MARK]:
        place.remove_all()


# --------------------------------------------------------------------------- all of them


def _backups(url: StoreUrl, root: Place) -> list[Backup]:
    """What bears our mark, newest first."""
    names = sorted((name for name in root.names() if _DATED.fullmatch(name)), reverse=True)
    found = ((name, read_mark(root.below(name))) for name in names)
    return [Backup(name=name, url=_below(url, name), mark=mark) for name, mark in found if mark is not None]


def _verified(found: Sequence[Backup]) -> tuple[Backup, ...]:
    there = {one.name: one for one in reversed(found) if one.mark.state == VERIFIED}
    return tuple(sorted(there.values(), key=lambda one: one.name, reverse=True))


def _folder(text: str) -> StoreUrl:
    """A URL of archives; a bare path is a folder."""
    url = StoreUrl.parse(text if text.partition(":")[2] else f"files:{text}")
    if url.scheme != "files":
        raise ConfigError(
            f"{url} holds no archives.", hint="Write files:DIR, files+s3://BUCKET/PREFIX or files+gs://BUCKET/PREFIX."
        )
    return url if url.host is not None else replace(url, path=str(url.local_path))


def _below(url: StoreUrl, name: str) -> str:
    return str(replace(url, path=f"{url.path.rstrip('/')}/{name}"))


def _source(source: str, patterns: Sequence[str]) -> tuple[str, str]:
    """Which store it is, and how its collections are called in the archive: by bare names where those are unique."""
    with opened(source) as origin:
        names = [spec.name for spec in select(list(origin.collections()), parse_patterns(patterns), store=source)]
        return f"{origin.identity.kind} {origin.identity.where}", (
            "{name}" if len(set(names)) == len(names) else "{namespace}_{name}"
        )
