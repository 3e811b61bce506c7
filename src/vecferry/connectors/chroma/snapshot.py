"""Take a consistent private copy of a Chroma directory that an app may be writing to, holding it up very little.

Chroma keeps its SQLite file in rollback-journal mode: while anybody holds a read lock, every commit waits. So

1. everything is copied *without* a lock first; then, under one short read transaction,
2. what changed meanwhile is copied again (clone, or block by block), and the index files are checked to be whole;
3. where that would take long (many bytes changed), the lock is not taken yet and step 1 is repeated.

Chroma commits records to its log, then applies them, then saves an index, then notes what it saved: with the SQLite
file held still, an index that is newer than its note is harmless, because the log is replayed from the note. An index
that is being saved at this moment shows by changing or not parsing; then the lock is let go and everything repeated.

Nothing is ever written into the directory. A journal that a killed writer left is rolled back in the copy.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import apsw

from vecferry import errors
from vecferry.connectors.chroma import catalog, hnsw, normalise
from vecferry.connectors.chroma.copying import Mirror
from vecferry.errors import CorruptData, StoreFull, Unavailable, VecferryError
from vecferry.model import Pin

STORE = "store"
MARKER = "vecferry-pin.json"
LOCKED_BYTES = 192 << 20
"""Bytes that may be compared under the lock; about 0.2 s. More, and another round is made without it first."""
ROUNDS = 6
"""Rounds after which the lock is taken however much has changed."""
SETTLE_SECONDS = 2.0
"""An index that does not parse and has not changed for this long is torn for good, not being saved."""
PATIENCE_SECONDS = 60.0
BUSY_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A complete copy. `locked_seconds` is how long the app's commits had to wait for us."""

    folder: Path
    pin: Pin
    locked_seconds: float


def load(folder: Path) -> Snapshot | None:
    """The complete snapshot in `folder`, None where there is none."""
    try:
        found = json.loads((folder / STORE / MARKER).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    pin = Pin(at=datetime.fromisoformat(found["at"]), identity=found["identity"], bytes=found["bytes"])
    return Snapshot(folder=folder / STORE, pin=pin, locked_seconds=found["locked_seconds"])


def take(path: Path, folder: Path, *, newer: bool = False, lasting: bool = True) -> Snapshot:
    """Snapshot the Chroma directory `path` into `folder`, or reuse the complete one that is there.

    `lasting` makes it survive a power failure. Where this process has chromadb loaded, the copy is made by a child
    process: two SQLite libraries in one process drop each other's file locks.

    Raises:
        NotFound: not a Chroma directory. CorruptData: its database is torn. Unsupported: it is too new.
        StoreFull: no room. Unavailable: it stayed locked.
    """
    if (there := load(folder)) is not None:
        return there
    if "chromadb" in sys.modules and sys.executable:
        _take_in_child(path, folder, newer=newer, lasting=lasting)
    else:
        _take(path, folder, newer=newer, lasting=lasting)
    made = load(folder)
    if made is None:
        raise CorruptData(
            f"The snapshot in {folder} vanished.", hint="Run the same command again: it takes another snapshot."
        )
    return made


def _take(path: Path, folder: Path, *, newer: bool, lasting: bool) -> None:
    half = folder / f"{STORE}.partial"
    shutil.rmtree(half, ignore_errors=True)
    try:
        half.mkdir(parents=True)
        at, locked = _Copier(path, half, newer=newer).run()
        with _database(half) as db:
            catalog.check_version(db, newer=newer)
            identity = f"{path}#{_state(db)}#{secrets.token_hex(8)}"
            normalise.run(db, half)
        size = sum(file.stat().st_size for file in half.rglob("*") if file.is_file())
        marker = {"at": at.isoformat(), "identity": identity, "bytes": size, "locked_seconds": round(locked, 3)}
        (half / MARKER).write_text(json.dumps(marker), encoding="utf-8")
        if lasting:
            _sync(half)
        half.rename(folder / STORE)
    except sqlite3.DatabaseError as error:
        raise CorruptData(
            f"{path / catalog.FILE} cannot be read: {error}.",
            hint="Restore the directory from a backup; `sqlite3 chroma.sqlite3 'PRAGMA integrity_check'` says more.",
        ) from error
    except OSError as error:
        text = f"The snapshot in {folder} cannot be written: {error.strerror}."
        raise StoreFull(text, hint="Name a folder that can be written and has room.") from error


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[apsw.Connection]:
    """A connection to a complete snapshot, for one thread at a time.

    `immutable` is not for speed alone: APSW brings a SQLite of its own, and two SQLite libraries in one process would
    drop each other's locks on a file that both open. Nobody changes a complete snapshot, so none are taken here; the
    app's directory, where locks matter, is left to the standard library's SQLite (docs/adr/0010).
    """
    uri = f"{(folder / catalog.FILE).as_uri()}?mode=ro&immutable=1"
    db = apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_NOMUTEX)
    try:
        yield db
    finally:
        db.close()


@contextlib.contextmanager
def _database(folder: Path) -> Iterator[sqlite3.Connection]:
    """Our copy, to be changed: no journal, since a half-made snapshot is thrown away as a whole."""
    db = sqlite3.connect(folder / catalog.FILE, isolation_level=None)
    try:
        db.execute("SELECT 1 FROM sqlite_master").fetchone()  # rolls a journal back that came along
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE", "cache_size = -32000"):
            db.execute(f"PRAGMA {pragma}")
        yield db
    finally:
        db.close()


def _state(db: sqlite3.Connection) -> str:
    """A text that changes with every write: the schema's and the log's counters."""
    (last,) = db.execute("SELECT max(seq_id) FROM embeddings_queue").fetchone()
    (schema,) = db.execute("PRAGMA schema_version").fetchone()
    return f"{schema}.{last or 0}"


def _sync(folder: Path) -> None:
    for file in [*folder.rglob("*"), folder, folder.parent]:
        with contextlib.suppress(PermissionError):  # folders cannot be opened on Windows
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


class _Copier:
    """The copying itself, up to the moment when the copy is one consistent state."""

    def __init__(self, path: Path, folder: Path, *, newer: bool) -> None:
        self._path, self._folder, self._newer = path, folder, newer
        self._mirrors: dict[str, Mirror] = {}
        self._torn: dict[str, tuple[tuple[int, ...], float]] = {}

    def run(self) -> tuple[datetime, float]:
        """Copy; returns (time of the state, seconds under the lock)."""
        deadline, rounds = time.monotonic() + PATIENCE_SECONDS, 0
        try:
            while True:
                rounds += 1
                self._refresh_all()
                done = self._under_lock(patient=rounds < ROUNDS, hopeless=time.monotonic() > deadline)
                if done is not None:
                    return done
                time.sleep(0.02)
        finally:
            for mirror in self._mirrors.values():
                mirror.close()

    # ------------------------------------------------------------------- without the lock

    def _refresh_all(self) -> None:
        """Bring the copy about up to date, without holding anybody up."""
        for name in (catalog.FILE, *self._index_files(self._segments())):
            self._refresh(name)

    def _segments(self) -> list[str]:
        with _reading(self._path) as db:
            if db is None:
                return [entry.name for entry in self._path.iterdir() if entry.is_dir()]
            catalog.check_version(db, newer=self._newer)  # before gigabytes are copied for nothing
            return list(catalog.index_folders(db))

    def _index_files(self, segments: list[str]) -> Iterator[str]:
        for segment in segments:
            yield from (f"{segment}/{name}" for name in hnsw.FILES if (self._path / segment / name).exists())

    def _refresh(self, name: str) -> None:
        mirror = self._mirrors.get(name)
        if mirror is not None and mirror.replaced() and name != catalog.FILE:
            self._mirrors.pop(name).close()
            mirror = None
        with contextlib.suppress(FileNotFoundError):
            if mirror is None:
                mirror = self._mirrors[name] = Mirror(self._path / name, self._folder / name)
            mirror.refresh()

    # ------------------------------------------------------------------- with it

    def _under_lock(self, *, patient: bool, hopeless: bool) -> tuple[datetime, float] | None:
        """One attempt; None where another round is better."""
        with _reading(self._path) as db:
            start, at = time.monotonic(), datetime.now(UTC)
            if db is None:
                return self._unlocked(at)
            segments = list(catalog.index_folders(db))
            names = list(self._index_files(segments))
            if patient and self._stale(names) > LOCKED_BYTES:
                return None
            if _uses_wal(self._path):
                self._back_up(db)
            else:
                self._refresh(catalog.FILE)
            if not self._indexes_whole(segments, names, patient=patient, hopeless=hopeless):
                return None
            return at, time.monotonic() - start

    def _stale(self, names: list[str]) -> int:
        return sum(self._mirrors[name].stale_bytes for name in (catalog.FILE, *names) if name in self._mirrors)

    def _back_up(self, db: sqlite3.Connection) -> None:
        """In write-ahead mode the file alone is not the state; readers hold nobody up there."""
        (self._folder / catalog.FILE).unlink(missing_ok=True)
        copy = sqlite3.connect(self._folder / catalog.FILE)
        try:
            db.backup(copy)
        finally:
            copy.close()

    def _indexes_whole(self, segments: list[str], names: list[str], *, patient: bool, hopeless: bool) -> bool:
        for name in names:
            self._refresh(name)
        if any(self._mirrors[name].stale for name in names if name in self._mirrors) and patient:
            return False  # somebody is saving this index
        broken = [segment for segment in segments if self._broken(segment)]
        return hopeless or all(self._settled(segment) for segment in broken)

    def _broken(self, segment: str) -> bool:
        folder = self._folder / segment
        return (folder / "index_metadata.pickle").exists() and hnsw.looks_whole(folder) is not None

    def _settled(self, segment: str) -> bool:
        """True where a torn index has not changed for a while: its writer is dead, waiting would not help."""
        stats = [(self._path / segment / name).stat() for name in hnsw.FILES if (self._path / segment / name).exists()]
        now = tuple(value for stat in stats for value in (stat.st_size, stat.st_mtime_ns))
        seen, since = self._torn.setdefault(segment, (now, time.monotonic()))
        if seen != now:
            self._torn[segment] = (now, time.monotonic())
        old = all(time.time_ns() - stat.st_mtime_ns > 1e9 * 10 for stat in stats)
        return seen == now and (old or time.monotonic() - since > SETTLE_SECONDS)

    # ------------------------------------------------------------------- where no lock can be had

    def _unlocked(self, at: datetime) -> tuple[datetime, float] | None:
        """Read-only media, or the journal of a killed writer: copy it too, and see that nothing moved."""
        names = [catalog.FILE, *(f"{catalog.FILE}{end}" for end in ("-journal", "-wal"))]
        before = _stamps(self._path, names)
        for name in names:
            self._refresh(name)
        if _stamps(self._path, names) != before:
            return None
        return at, 0.0


def _stamps(path: Path, names: list[str]) -> list[tuple[int, int] | None]:
    stats = [(path / name).stat() if (path / name).exists() else None for name in names]
    return [None if stat is None else (stat.st_size, stat.st_mtime_ns) for stat in stats]


def _uses_wal(path: Path) -> bool:
    return (path / f"{catalog.FILE}-wal").exists()


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection | None]:
    """A read transaction on the live file; None where SQLite would have to write to give one."""
    uri = f"{(path / catalog.FILE).as_uri()}?mode=ro"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_SECONDS)
    try:
        db.execute("BEGIN")
        try:
            db.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            code = error.sqlite_errorcode & 0xFF
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise Unavailable(
                    f"{path / catalog.FILE} stayed locked for {BUSY_SECONDS:.0f} s.",
                    store=f"chroma:{path}",
                    hint="A long write is going on. Try again.",
                ) from error
            if code not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
                raise
            yield None
            return
        yield db
    finally:
        db.close()


# --------------------------------------------------------------------------- in a child process


def _take_in_child(path: Path, folder: Path, *, newer: bool, lasting: bool) -> None:
    request = json.dumps({"path": str(path), "folder": str(folder), "newer": newer, "lasting": lasting})
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; from {__name__} import main; sys.exit(main())"],
        input=request, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == 0:
        return
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise CorruptData(
            f"The snapshot of {path} failed: {done.stderr[-2000:]}",
            hint="Run the same command again; where it fails again, please report this.",
        ) from None
    kind: type[VecferryError] = getattr(errors, answer["kind"])
    raise kind(answer["message"], hint=answer["hint"])


def main() -> int:
    """The child's part: a request on standard input, an error as JSON on standard output."""
    request = json.load(sys.stdin)
    try:
        _take(Path(request["path"]), Path(request["folder"]), newer=request["newer"], lasting=request["lasting"])
    except VecferryError as error:
        sys.stdout.write(json.dumps({"kind": type(error).__name__, "message": error.message, "hint": error.hint}))
        return 1
    return 0
