"""Where an archive's files lie: a folder on a disk, or a prefix in a bucket. Names are relative to it.

Both write a file whole or not at all, durable when the call returns. They differ in two things, and hide them here:

- A journal grows by appending. Objects cannot grow, so in a bucket every line of `journal-000003.jsonl` is an object of
  its own, `journal-000003-TIME-RANDOM.jsonl`, read in the order of these names.
- A disk has locks between processes. For a bucket the locks lie in this user's cache folder: they hold among the
  processes of one user on one machine. `replace` is conditional there, so that one more machine is noticed.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from threading import Lock
from typing import Any, Protocol
from uuid import uuid4

import pyarrow as pa

from vecferry.errors import ConfigError, Conflict, NotFound, VecferryError
from vecferry.objects import access, disk
from vecferry.objects.bucket import Bucket, Stat, open_bucket
from vecferry.objects.cache import cache_folder
from vecferry.objects.packed import check_options
from vecferry.url import StoreUrl

Change = Callable[[bytes | None], bytes]
"""The present content of a file, None where it is missing, to its next content."""
_ATTEMPTS = 10


class Place(Protocol):
    """A folder of files. Every method raises StoreFull, AuthFailed or Unavailable where the storage refuses."""

    @property
    def where(self) -> str:
        """The place as text that tells it from all others, without secrets."""
        ...

    @property
    def transport(self) -> str:
        """How it is spoken to: file, s3, gs."""
        ...

    @property
    def name(self) -> str:
        """The last part of it."""
        ...

    def below(self, name: str) -> Place:
        """A folder in it, whether it is there already or not."""
        ...

    def shown(self, name: str) -> str:
        """A file as a person would write it."""
        ...

    def make(self) -> None:
        """Make it, and what is above it. Idempotent."""
        ...

    def names(self) -> list[str]:
        """The files and folders directly in it, in order; none where it is not there.

        Raises:
            ConfigError: a file stands where the folder should be.
        """
        ...

    def exists(self, name: str) -> bool: ...

    def read(self, name: str) -> bytes:
        """A file, whole.

        Raises:
            FileNotFoundError: it is not there.
        """
        ...

    def open(self, name: str) -> pa.NativeFile:
        """A file for reading parts of it.

        Raises:
            FileNotFoundError: it is not there.
        """
        ...

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Put a file, whole or not at all."""
        ...

    def replace(self, name: str, change: Change) -> None:
        """Read a file and write what `change` makes of it.

        `change` may be called several times, also on what it made itself: where somebody was faster, and where a write
        succeeded but its answer was lost.
        """
        ...

    def append(self, journal: str, line: bytes) -> None:
        """Add whole lines to a journal."""
        ...

    def journal(self, journal: str) -> bytes:
        """All lines of a journal, in the order in which they were added; empty where there are none."""
        ...

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; what cannot be removed stays."""
        ...

    def remove_all(self) -> None:
        """Remove the folder and everything in it; where there is none, nothing. What cannot be removed is said."""
        ...

    def locked(self, name: str, *, shared: bool = False) -> AbstractContextManager[None]:
        """Hold a lock, alone or with others, across threads and processes; a killed process lets go."""
        ...


def open_place(url: StoreUrl) -> Place:
    """The place that `url` names: `files:DIR`, `files+s3://BUCKET/PREFIX` or `files+gs://BUCKET/PREFIX`.

    Raises:
        ConfigError: another transport, or an option without sense.
    """
    if url.transport in access.TRANSPORTS:
        check_options(url, access.OPTIONS, remote=True)
        return BucketPlace(*open_bucket(url), transport=url.transport)
    if url.host is not None:
        raise ConfigError(
            f"'{url.scheme}+{url.transport}://{url.host}' names no folder.",
            hint=f"Write {url.scheme}:DIR, {url.scheme}+s3://BUCKET/PREFIX or {url.scheme}+gs://BUCKET/PREFIX.",
        )
    return DiskPlace(url.local_path)


class DiskPlace:
    """A folder on a disk."""

    transport = "file"

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def where(self) -> str:
        return str(self._path)

    @property
    def name(self) -> str:
        return self._path.name

    def below(self, name: str) -> DiskPlace:
        return DiskPlace(self._path / name)

    def shown(self, name: str) -> str:
        return str(self._path / name)

    def make(self) -> None:
        disk.make_folder(self._path)

    def names(self) -> list[str]:
        try:
            with disk.reading(self._path):
                return sorted(path.name for path in self._path.iterdir())
        except FileNotFoundError:
            return []
        except NotADirectoryError as error:
            raise ConfigError(f"{self._path} is not a folder.", hint="Name the folder of an archive.") from error

    def exists(self, name: str) -> bool:
        return (self._path / name).exists()

    def read(self, name: str) -> bytes:
        with disk.reading(self._path / name):
            return (self._path / name).read_bytes()

    def open(self, name: str) -> pa.NativeFile:
        return pa.OSFile(str(self._path / name))

    def write(self, name: str, data: bytes | memoryview) -> None:
        disk.write_atomic(self._path / name, data)

    def replace(self, name: str, change: Change) -> None:
        for torn in self._path.glob(f"{disk.TEMPORARY}*"):  # callers hold a lock: nobody else is writing
            torn.unlink(missing_ok=True)
        before: bytes | None = None
        with suppress(FileNotFoundError, NotADirectoryError):
            before = self.read(name)
        disk.write_atomic(self._path / name, change(before))

    def append(self, journal: str, line: bytes) -> None:
        disk.append(self._path / journal, line)

    def journal(self, journal: str) -> bytes:
        try:
            return self.read(journal)
        except FileNotFoundError:
            return b""

    def remove(self, names: Iterable[str]) -> None:
        for name in list(names):
            with suppress(OSError):
                (self._path / name).unlink()

    def remove_all(self) -> None:
        disk.remove_folder(self._path)

    def locked(self, name: str, *, shared: bool = False) -> AbstractContextManager[None]:
        return disk.locked(self._path / name, shared=shared)


class BucketPlace:
    """A prefix in a bucket."""

    def __init__(self, bucket: Bucket, prefix: str, *, transport: str) -> None:
        self._bucket, self._prefix = bucket, prefix
        self.transport = transport
        self._last, self._lock = 0, Lock()

    @property
    def where(self) -> str:
        return f"{self._bucket.place}/{self._prefix}"

    @property
    def name(self) -> str:
        return self._prefix.rpartition("/")[2]

    def below(self, name: str) -> BucketPlace:
        return BucketPlace(self._bucket, self._key(name), transport=self.transport)

    def shown(self, name: str) -> str:
        return self._bucket.shown(self._key(name))

    def make(self) -> None:
        """Prefixes need no making."""

    def names(self) -> list[str]:
        folders, objects = self._bucket.children(self._prefix)
        return sorted([*folders, *(one.key.rpartition("/")[2] for one in objects if one.key != self._prefix)])

    def exists(self, name: str) -> bool:
        return self._bucket.stat(self._key(name)) is not None

    def read(self, name: str) -> bytes:
        return self._read(name)[0]

    def open(self, name: str) -> pa.NativeFile:
        return pa.BufferReader(self.read(name))

    def write(self, name: str, data: bytes | memoryview) -> None:
        self._bucket.write(self._key(name), data)

    def replace(self, name: str, change: Change) -> None:
        for attempt in range(_ATTEMPTS):
            before: bytes | None = None
            stat: Stat | None = None
            with suppress(FileNotFoundError):
                before, stat = self._read(name)
            try:
                self._bucket.write(self._key(name), change(before), instead_of=stat, new=stat is None)
            except Conflict:
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return

    def append(self, journal: str, line: bytes) -> None:
        with self._lock:
            self._last = max(self._last + 1, time.time_ns())
            name = f"{journal.removesuffix('.jsonl')}-{self._last:020}-{uuid4().hex[:8]}.jsonl"
        self._bucket.write(self._key(name), line)

    def journal(self, journal: str) -> bytes:
        stem = journal.removesuffix(".jsonl") + "-"
        names = [name for name in self.names() if name.startswith(stem)]
        with ThreadPoolExecutor(8) as pool:
            return b"".join(pool.map(self.read, names))

    def remove(self, names: Iterable[str]) -> None:
        with suppress(VecferryError):
            self._bucket.delete([self._key(name) for name in names])

    def remove_all(self) -> None:
        self._bucket.delete([one.key for one in self._bucket.objects(self._prefix)])

    def locked(self, name: str, *, shared: bool = False) -> AbstractContextManager[None]:
        digest = hashlib.sha256(f"{self.where}/{name}".encode()).hexdigest()
        return disk.locked(cache_folder() / "locks" / f"place-{digest}", shared=shared)

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def _read(self, name: str) -> tuple[bytes, Any]:
        try:
            return self._bucket.read(self._key(name))
        except NotFound as error:
            if self._bucket.stat(self._key(name)) is None:  # or the bucket itself is not there
                self._bucket.children(self._prefix)
            raise FileNotFoundError(self.shown(name)) from error
