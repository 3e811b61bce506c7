"""An embedded Qdrant folder: which collections it holds and where, one process at a time, safe against `kill -9`.

    PATH/vecferry-qdrant.json     the manifest: collection name -> folder, spec with card, records at the last close
    PATH/.vecferry.lock           locked by the operating system while a process has the folder open
    PATH/collections/<safe name>/ one shard of Qdrant's edge engine per collection

The manifest is replaced as a whole, so it is always the old or the new one. A collection exists from the moment it
stands there: its shard is complete before, and goes after. Shards that somebody else made with the engine, in
sub-folders or as PATH itself, are collections too, named after their folder and without a spec of ours.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from threading import RLock
from typing import BinaryIO, ClassVar
from uuid import uuid4

import msgspec

from vecferry.catalog import gone
from vecferry.connectors.qdrant.embedded.engine import Shard, engine, in_use
from vecferry.connectors.qdrant.embedded.lock import lock, owner, unlock
from vecferry.errors import ConfigError, CorruptData, StoreFull
from vecferry.model import CollectionSpec

MANIFEST = "vecferry-qdrant.json"
LOCK = ".vecferry.lock"
SHARDS = "collections"
SHARD = "edge_config.json"
"""The file by which a shard of the engine is known."""
FORMAT, VERSION = "vecferry-qdrant", 1
_OURS = re.compile(rf"{SHARDS}/[a-z0-9-]+")
_RESTORE = "Restore the folder from a backup, or write its collections again from their source."


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One collection. `spec` is None where we did not write it, `records` where a writer has not closed it."""

    folder: str
    spec: CollectionSpec | None = None
    records: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The contents of the manifest file. `engine` is the version that last wrote here."""

    format: str = FORMAT
    version: int = VERSION
    engine: str = ""
    collections: dict[str, Entry] = field(default_factory=dict)


class Folder:
    """An embedded folder, shared by everything in this process that has it open. Thread-safe.

    Nothing is created before `create`, and nothing locked before a shard is needed: looking writes nothing.
    """

    _open: ClassVar[dict[Path, Folder]] = {}
    _guard: ClassVar[RLock] = RLock()

    def __init__(self, path: Path) -> None:
        self.path = path
        self.users = 0
        self._lock = RLock()
        self._locked: BinaryIO | None = None
        self._shards: dict[str, Shard] = {}

    # ----------------------------------------------------------------- lifetime

    @classmethod
    def acquire(cls, path: Path) -> Folder:
        """The folder at `path`; give it back with `release`."""
        with cls._guard:
            folder = cls._open.setdefault(path.resolve(), cls(path.resolve()))
            folder.users += 1
            return folder

    def release(self) -> None:
        """The last one out closes the shards, notes their counts and unlocks."""
        with self._guard, self._lock:
            self.users -= 1
            if self.users > 0:
                return
            self._open.pop(self.path, None)
            try:
                for name in list(self._shards):
                    self.settle(name)
                    self._shards.pop(name).close()
            finally:
                if self._locked is not None:
                    unlock(self._locked)
                    self._locked = None

    # ----------------------------------------------------------------- looking

    def entries(self) -> dict[str, Entry]:
        """Every collection by name, in the order of names."""
        found = {name: Entry(folder=folder) for name, folder in self._foreign()}
        return dict(sorted((found | self._manifest().collections).items()))

    def entry(self, name: str) -> Entry | None:
        return self.entries().get(name)

    def count(self, name: str) -> int:
        """Records of a collection: noted when it was closed, or counted."""
        with self._lock:
            entry = self.entry(name)
            noted = None if entry is None or name in self._shards else entry.records
        return self.shard(name).count() if noted is None else noted

    def shard_path(self, entry: Entry) -> Path:
        """Where the shard of a collection lies."""
        return self.path / entry.folder

    def _foreign(self) -> Iterator[tuple[str, str]]:
        if (self.path / SHARD).is_file():
            yield self.path.name, "."
        elif self.path.is_dir():
            for child in self.path.iterdir():
                if (child / SHARD).is_file():
                    yield child.name, child.name

    def _manifest(self) -> Manifest:
        path = self.path / MANIFEST
        try:
            manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
        except FileNotFoundError:
            if (self.path / SHARDS).is_dir():
                raise CorruptData(
                    f"{self.path} holds collections, but its manifest {MANIFEST} is gone.", hint=_RESTORE
                ) from None
            return Manifest()
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CorruptData(
                f"The manifest {path} cannot be read: {error}.",
                hint=_RESTORE,
            ) from error
        if manifest.format != FORMAT or manifest.version > VERSION:
            raise ConfigError(
                f"{path} has format {manifest.format} {manifest.version}; this vecferry knows {FORMAT} {VERSION}.",
                hint="Update vecferry.",
            )
        for name, entry in manifest.collections.items():
            if not _OURS.fullmatch(entry.folder):
                raise CorruptData(f"{path} puts the collection {name} into '{entry.folder}'.", hint=_RESTORE)
        return manifest

    # ----------------------------------------------------------------- working

    def shard(self, name: str) -> Shard:
        """The open shard of a collection.

        Raises:
            NotFound: no such collection.
            Unavailable: another process has the folder open.
            CorruptData: the shard is torn, or holds fewer records than when it was closed.
        """
        with self._lock:
            if name not in self._shards:
                entry = self.entry(name)
                if entry is None:
                    raise gone(name, store=f"qdrant:{self.path}")
                self._hold()
                self._shards[name] = self._load(name, entry)
            return self._shards[name]

    def _load(self, name: str, entry: Entry) -> Shard:
        shard = Shard.load(self.shard_path(entry))
        count = shard.count()
        if entry.records is not None and count != entry.records:
            shard.close()
            raise CorruptData(
                f"The collection {name} in {self.path} held {entry.records} records when it was closed, now {count}.",
                hint=_RESTORE,
            )
        return shard

    def create(self, spec: CollectionSpec, config: object) -> CollectionSpec:
        """Make an empty collection; returns its spec with a new uid."""
        with self._lock:
            self._hold(make=True)
            made = replace(spec, uid=str(uuid4()), count=None)
            entry = Entry(folder=f"{SHARDS}/{safe_name(spec.qualified_name)}", spec=made)
            self._sweep()
            self._shards[spec.qualified_name] = Shard.create(self.shard_path(entry), config)
            self._note(spec.qualified_name, entry)
            return made

    def update(self, name: str, **changes: object) -> None:
        """Change what the manifest says of a collection."""
        with self._lock:
            entry = self.entry(name)
            if entry is not None and any(getattr(entry, key) != value for key, value in changes.items()):
                self._note(name, replace(entry, **changes))  # type: ignore[arg-type]  # keys are those of Entry

    def settle(self, name: str) -> None:
        """Note how many records a collection of ours holds, so that a later torn file is noticed."""
        with self._lock:
            entry = self.entry(name)
            if entry is not None and entry.spec is not None and name in self._shards:
                self.update(name, records=self._shards[name].count())

    def drop(self, name: str) -> None:
        """Remove a collection; what is not there is no error."""
        with self._lock:
            entry = self.entry(name)
            if entry is None:
                return
            self._hold()
            shard = self._shards.pop(name, None)
            if shard is not None:
                shard.close()
            self._note(name, None)
            shutil.rmtree(self.shard_path(entry))

    def _sweep(self) -> None:
        """Remove shards that no manifest names: a crash came between making or dropping them and saying so."""
        named = {self.shard_path(entry) for entry in self._manifest().collections.values()}
        (self.path / SHARDS).mkdir(exist_ok=True)
        for path in (self.path / SHARDS).iterdir():
            if path not in named:
                shutil.rmtree(path)

    def _hold(self, *, make: bool = False) -> None:
        """Lock the folder for this process."""
        if self._locked is not None:
            return
        engine()
        try:
            if make:
                self.path.mkdir(parents=True, exist_ok=True)
            self._locked = lock(self.path / LOCK)
            if make and not (self.path / MANIFEST).exists():
                self._write(Manifest())
        except BlockingIOError:
            raise in_use(self.path, owner(self.path / LOCK)) from None
        except OSError as error:
            raise StoreFull(
                f"{self.path} cannot be written to: {error.strerror}.",
                store=f"qdrant:{self.path}",
                hint="Qdrant's engine writes even to read. Copy the folder to a place that you may write to.",
            ) from error

    def _note(self, name: str, entry: Entry | None) -> None:
        """Replace the manifest, durably."""
        self._hold()
        collections = dict(self._manifest().collections)
        if entry is None:
            collections.pop(name, None)
        else:
            collections[name] = entry
        self._write(Manifest(engine=version(), collections=collections))

    def _write(self, manifest: Manifest) -> None:
        path = self.path / MANIFEST
        with (scratch := path.with_suffix(".tmp")).open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
        if os.name == "posix":  # a rename is durable once its folder is
            folder = os.open(self.path, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)


def version() -> str:
    """The installed version of the engine."""
    from importlib.metadata import version as installed

    return installed("qdrant-edge-py")


def safe_name(name: str) -> str:
    """A folder name for any collection name: readable where it can be, different for different names everywhere."""
    readable = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
    return f"{readable or 'collection'}-{blake2b(name.encode(), digest_size=5).hexdigest()}"
