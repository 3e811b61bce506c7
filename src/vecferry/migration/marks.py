"""The mark of a backup: of which source it is, whether it was verified, and whether somebody is still writing it."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

import msgspec

from vecferry.engine.stop import Stop
from vecferry.errors import RunLocked, VecferryError
from vecferry.objects.place import Place
from vecferry.state.lease import Owner

MARK = ".vecferry-backup.json"
BEGUN, VERIFIED, REMOVING = "begun", "verified", "removing"
BEAT = timedelta(minutes=1)
"""How often a process that writes a backup says that it lives."""
_SILENT = timedelta(minutes=15)
"""One that was not heard of for so long, by clocks that may differ by minutes, has died."""


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What we note of a backup.

    Attributes:
        collections: the patterns that chose some of the source's; none where it is a backup of all.
        manifest: the SHA-256 of the archive's manifest once all of it was compared.
        owner: the process that writes it (`vecferry.state.lease`), empty where none does; alive: when it last said so.
    """

    version: int = 1
    state: str
    source: str
    collections: tuple[str, ...] = ()
    begun: datetime
    run: str = ""
    records: int = 0
    manifest: str = ""
    owner: str = ""
    alive: datetime | None = None

    @property
    def heard(self) -> datetime:
        """The last that was heard of whoever wrote it."""
        return self.alive or self.begun

    @property
    def writer(self) -> Owner | None:
        """The process that may still be writing it."""
        owner = Owner.parse(self.owner) if self.state == BEGUN else None
        if owner is None or owner.certainly_dead or now() - self.heard > _SILENT:
            return None
        return owner


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """One dated archive."""

    name: str
    url: str
    mark: Mark


def now() -> datetime:
    return datetime.now(UTC)


def read_mark(place: Place) -> Mark | None:
    """The mark of the archive in `place`, None where it bears none."""
    try:
        return msgspec.json.decode(place.read(MARK), type=Mark)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None


def note(root: Place, one: Backup) -> Backup:
    """Write its mark."""
    root.below(one.name).write(MARK, msgspec.json.format(msgspec.json.encode(one.mark)))
    return one


def refuse_writer(one: Backup) -> None:
    """Refuse where another process is writing this backup.

    Raises:
        RunLocked: names the process, and when it was last heard of.
    """
    if (writer := one.mark.writer) is not None:
        raise RunLocked(
            f"The backup {one.name} is being written by {writer.shown}, last heard of at {one.mark.heard:%H:%M} UTC.",
            hint="Wait until it ends. Where that process hangs, end it: the same command goes on with what it wrote; "
            f"on another machine {_SILENT.seconds // 60} minutes later.",
        )


class Hold:
    """A backup that is ours for the length of a block; its mark says again and again that we live.

    When the block ends and the backup is not verified, the mark names no owner any more: the next call goes on at once.

    Raises:
        RunLocked: another process took it over, or removed it; `stop` was requested.
    """

    def __init__(self, root: Place, one: Backup, stop: Stop) -> None:
        self._root, self._stop = root, stop
        self._mine = note(root, _with(one, owner=str(Owner.me()), alive=now()))
        self._lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="backup-heart", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._end()
        if self._lost:
            raise self._taken() from error
        with suppress(VecferryError):  # then it counts as ours until it was not heard of for long
            if self._still():
                note(self._root, _with(self._mine, owner="", alive=now()))

    def prove(self) -> None:
        """Make sure that the backup is still ours, and say no more that we live: the mark is to be written."""
        self._end()
        if self._lost or not self._still():
            raise self._taken()

    def _end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT.total_seconds()):
            with suppress(VecferryError):  # storage that fails for a moment; whoever writes into it next says so
                if not self._still():
                    self._lost = True
                    self._stop.request()
                    return
                note(self._root, _with(self._mine, alive=now()))

    def _still(self) -> bool:
        found = read_mark(self._root.below(self._mine.name))
        return found is not None and (found.state, found.owner) == (BEGUN, self._mine.mark.owner)

    def _taken(self) -> RunLocked:
        return RunLocked(
            f"The backup {self._mine.name} was taken over or removed by another process: this one was silent for long.",
            hint="Was this machine suspended? Run the same command again.",
        )


def _with(one: Backup, **changes: object) -> Backup:
    return replace(one, mark=msgspec.structs.replace(one.mark, **changes))
