"""An open Chroma directory: read through a snapshot, written through Chroma's own client."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path
from threading import RLock

from vecferry.connectors.chroma import catalog, normalise, removal, snapshot
from vecferry.connectors.chroma._codec import LIMITS
from vecferry.connectors.chroma.catalog import FILE, Entry
from vecferry.connectors.chroma.client import Client
from vecferry.connectors.chroma.search import SearchableChromaSource
from vecferry.connectors.chroma.sink import ChromaSink
from vecferry.connectors.chroma.snapshot import Snapshot
from vecferry.connectors.chroma.source import ChromaSource
from vecferry.errors import CorruptData, NotFound
from vecferry.limits import Limits
from vecferry.model import Belongings, CollectionSpec, Pin, StoreIdentity

FOLDER_HINT = "Name the folder that chromadb.PersistentClient(path=…) writes to."


class ChromaDatabase:
    """One directory. Reading works on a snapshot of it; the directory itself is never written to by reading.

    Until `pin` says otherwise, a snapshot is taken into a temporary folder at first use, and again when the directory
    has changed since; `close` removes it. A folder that is not there yet, or empty, has no collections: a sink makes
    it.
    """

    def __init__(self, path: Path, *, newer: bool = False) -> None:
        self._path, self._newer = path, newer
        self._lock = RLock()
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._taken = 0
        self._snapshot: Snapshot | None = None
        self._pinned = False
        self._state: object = None
        self._client: Client | None = None

    @property
    def identity(self) -> StoreIdentity:
        return StoreIdentity(kind="chroma", where=str(self._path), version=self._version(), transport="file")

    @property
    def limits(self) -> Limits:
        return LIMITS

    def pin(self, folder: Path) -> Pin:
        """Snapshot into `folder`; see `vecferry.connectors.chroma.snapshot.take` for what it costs the app."""
        with self._lock:
            folder.mkdir(parents=True, exist_ok=True)
            self._snapshot = snapshot.take(self._path, folder, newer=self._newer)
            self._pinned = True
            return self._snapshot.pin

    def collections(self) -> list[CollectionSpec]:
        with self._lock:
            if self._empty():
                return []
            return [entry.spec(count=facts.count, dim=facts.dim) for entry, facts in self._catalog(self._current())]

    def source(self, name: str) -> ChromaSource:
        """See `Database.source`.

        Raises:
            CorruptData: vectors of this collection stand in index files that are missing or torn.
        """
        with self._lock:
            if self._empty():
                raise NotFound(
                    f"There is no collection '{name}' in {self._path}: the folder is empty.",
                    store=f"chroma:{self._path}",
                    hint=FOLDER_HINT,
                )
            held = self._current()
            rows = self._catalog(held)
            entry = catalog.find([entry for entry, _ in rows], name, self._path)
            facts = rows[entry.number][1]
            if facts.problem:
                raise CorruptData(
                    f"The vectors of {entry.qualified_name} cannot be read: {facts.problem}",
                    hint="Restore the index folder from a backup, or leave this collection out with --collection.",
                )
            kind = SearchableChromaSource if find_spec("chromadb") else ChromaSource
            return kind(held.folder, entry, entry.spec(count=facts.count, dim=facts.dim))

    def sink(self, spec: CollectionSpec) -> ChromaSink:
        return ChromaSink(spec, self._open_client)

    def drop(self, name: str) -> None:
        """Remove a collection through Chroma's own client."""
        with self._lock:
            try:
                found = [entry for entry, _ in self._catalog(self._current(fresh=True))] if not self._empty() else []
                entry = catalog.find(found, name, self._path)
            except NotFound:
                return
            if name == entry.name and name != entry.qualified_name:  # in another database than a sink writes to
                return
            self._open_client().drop(entry.tenant, entry.database, entry.name)

    def belongings(self) -> Belongings:
        """What the directory holds, before it is removed."""
        return removal.belongings(self._path)

    def remove(self, seen: Belongings) -> None:
        """Remove the directory as a whole."""
        self.close()
        removal.remove(self._path, seen)

    def close(self) -> None:
        with self._lock:
            self._snapshot = None
            if self._client is not None:
                self._client.close()
                self._client = None
            if self._temporary is not None:
                self._temporary.cleanup()
                self._temporary = None

    # ----------------------------------------------------------------------- within

    def _open_client(self) -> Client:
        with self._lock:
            if self._client is None:
                self._client = Client(self._path)
            return self._client

    def _empty(self) -> bool:
        """True where nothing is there yet: a folder that a sink will make."""
        return not self._pinned and not (self._path / FILE).exists()

    def _version(self) -> str:
        with self._lock:
            if self._empty():
                return ""
            with snapshot.opened(self._current().folder) as db:
                return catalog.check_version(db, newer=True)

    def _current(self, *, fresh: bool = False) -> Snapshot:
        """The snapshot to read: the pinned one, or one of the directory as it is now."""
        if self._pinned and self._snapshot is not None and not fresh:
            return self._snapshot
        state = [_stamp(self._path / f"{FILE}{end}") for end in ("", "-journal", "-wal")]
        if self._snapshot is None or self._pinned or state != self._state:
            if self._temporary is None:
                self._temporary = tempfile.TemporaryDirectory(prefix="vecferry-chroma-")
            self._taken += 1
            folder = Path(self._temporary.name) / str(self._taken)
            taken = snapshot.take(self._path, folder, newer=self._newer, lasting=False)
            if fresh and self._pinned:
                return taken
            self._snapshot, self._state = taken, state
        return self._snapshot

    @staticmethod
    def _catalog(held: Snapshot) -> list[tuple[Entry, normalise.Facts]]:
        with snapshot.opened(held.folder) as db:
            return list(zip(catalog.entries(db), normalise.facts(db), strict=True))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
