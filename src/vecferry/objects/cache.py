"""A folder of this user in which what was fetched is kept until it is old, and unpacked while it is read.

    CACHE/fetched/HASH            an object as it is in its bucket; HASH stands for bucket, key, ETag and size
    CACHE/fetched/HASH.json       where it came from, and its SHA-256
    CACHE/fetched/HASH.part       the beginning of one whose download was cut
    CACHE/open/NAME               an archive unpacked, while a process reads it
    CACHE/locks/…                 who holds what; a killed process lets go

What is fetched is asked for in pieces, each on the condition that the object is still the one that was looked at. So a
download goes on where it was cut, after a `kill -9` too, and never mixes two versions.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from platformdirs import user_cache_path

from vecferry.errors import StoreFull, Unavailable
from vecferry.events import Notice, tell
from vecferry.objects.bucket import Bucket, Stat
from vecferry.objects.disk import writing

VARIABLE = "VECFERRY_CACHE"
PIECE_BYTES = 8 << 20
IN_FLIGHT = 4
NOTICED_BYTES = 20_000_000
"""A person is told of a download that may take a while."""
KEPT_SECONDS = 7 * 86_400
"""What nobody has read for so long is removed by the next process that fetches something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """An object on this disk, proven to be what was fetched. `cached` says that nothing had to be fetched."""

    file: Path
    sha256: str
    bytes: int
    cached: bool


def cache_folder(given: str | None = None) -> Path:
    """Where to keep things: `given`, else $VECFERRY_CACHE, else the user's cache folder. Made here, for us alone."""
    location = given or os.environ.get(VARIABLE, "").strip()
    folder = Path(location).expanduser().absolute() if location else user_cache_path("vecferry") / "objects"
    for name in ("fetched", "open", "locks"):
        with writing(folder / name):
            (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def fetch(bucket: Bucket, stat: Stat, cache: Path) -> Fetched:
    """The object that `stat` says, from the cache where it is there and whole, else from the bucket.

    Raises:
        Conflict: it was replaced meanwhile. StoreFull: no room for it.
        Unavailable, Throttled: the download was cut; the same call goes on behind what is there already.
    """
    identity = [bucket.place, stat.key, stat.size, stat.etag or stat.modified.isoformat()]
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    file = cache / "fetched" / name
    with _held(cache / "locks" / name):
        known = _known(file)
        if known is not None:
            return known
        if stat.size > NOTICED_BYTES:
            tell(Notice(message=f"Fetching {bucket.shown(stat.key)}: {stat.size / 1e6:,.0f} MB."))
        sha256 = _download(bucket, stat, file.with_suffix(".part"))
        facts = {
            "object": f"{bucket.place}/{stat.key}",
            "etag": stat.etag,
            "modified": stat.modified.isoformat(),
            "bytes": stat.size,
            "sha256": sha256,
        }
        with writing(file):
            file.with_suffix(".part").replace(file)
            file.with_suffix(".json").write_text(json.dumps(facts, indent=2), encoding="utf-8")
        return Fetched(file=file, sha256=sha256, bytes=stat.size, cached=False)


@contextmanager
def _held(lock: Path) -> Iterator[None]:
    with writing(lock), lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _known(file: Path) -> Fetched | None:
    """What is in the cache, unless it is torn or was changed: then it is fetched again."""
    try:
        facts = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        if file.stat().st_size != facts["bytes"] or _sha256(file).hexdigest() != facts["sha256"]:
            return None
    except (OSError, ValueError, KeyError):
        return None
    os.utime(file)  # read today
    return Fetched(file=file, sha256=facts["sha256"], bytes=facts["bytes"], cached=True)


def _download(bucket: Bucket, stat: Stat, part: Path) -> str:
    """Fetch what `part` does not have yet, several pieces at a time; returns the SHA-256 of all of it."""
    with writing(part), part.open("ab") as out:
        if out.tell() > stat.size:
            out.truncate(0)
            out.seek(0)
        done = out.tell()
        _check_room(part.parent, stat, done)
        digest = _sha256(part)
        for piece in _pieces(bucket, stat, done):
            out.write(piece)
            out.flush()
            digest.update(piece)
        if out.tell() != stat.size:
            raise Unavailable(
                f"{bucket.shown(stat.key)} ended after {out.tell():,} of {stat.size:,} bytes.",
                hint="Run the same command again: it goes on from there.",
            )
        os.fsync(out.fileno())
    return str(digest.hexdigest())


def _pieces(bucket: Bucket, stat: Stat, start: int) -> Iterator[bytes]:
    """The bytes of an object from `start` on, in order, `IN_FLIGHT` pieces at a time."""
    starts = iter(range(start, stat.size, PIECE_BYTES))
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="vecferry-fetch") as pool:
        try:
            while True:
                for begin in starts:
                    end = min(begin + PIECE_BYTES, stat.size)
                    waiting.append(pool.submit(bucket.read_range, stat, begin, end))
                    if len(waiting) == IN_FLIGHT:
                        break
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _check_room(folder: Path, stat: Stat, done: int) -> None:
    free = shutil.disk_usage(folder).free
    if stat.size - done > free:
        raise StoreFull(
            f"{stat.key} has {stat.size:,} bytes, and {folder} has room for {free:,}.",
            hint=f"Free space, or name another folder with {VARIABLE}=DIR or the option cache=DIR.",
        )


def _sha256(file: Path) -> Any:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256")


# --------------------------------------------------------------------------- unpacked, while somebody reads it


class Room:
    """A new folder below CACHE/open that is ours until `close`; another process removes it once we are dead."""

    def __init__(self, cache: Path) -> None:
        self.folder = cache / "open" / uuid4().hex
        self._lock = cache / "locks" / f"open-{self.folder.name}"
        with writing(self.folder):
            self._file = self._lock.open("ab")
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self.folder.mkdir(mode=0o700)

    def close(self) -> None:
        """Remove the folder and everything in it. Idempotent."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.unlink(missing_ok=True)
        self._file.close()


def sweep(cache: Path, *, now: float | None = None) -> None:
    """Remove what nobody has read for a week, and what killed processes left unpacked."""
    oldest = (time.time() if now is None else now) - KEPT_SECONDS
    for file in (cache / "fetched").iterdir():
        with suppress(OSError), _unheld(cache / "locks" / file.stem):
            if file.suffix != ".json" and file.stat().st_mtime < oldest:
                file.with_suffix(".json").unlink(missing_ok=True)
                file.unlink()
    for folder in (cache / "open").iterdir():
        lock = cache / "locks" / f"open-{folder.name}"
        with suppress(OSError), _unheld(lock):
            shutil.rmtree(folder, ignore_errors=True)
            lock.unlink()  # nobody will ever ask for this name again


@contextmanager
def _unheld(lock: Path) -> Iterator[None]:
    """The block, only if nobody holds `lock`.

    Raises:
        BlockingIOError: somebody does.
    """
    with lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
