"""A store that lies packed somewhere: an archive in a bucket, the files below a prefix, an archive on this disk.

    CONNECTOR+s3://BUCKET/KEY.tar.gz     an archive; fetched into the cache, unpacked into a folder of its own
    CONNECTOR+s3://BUCKET/PREFIX         the files of a directory, as `aws s3 sync` puts them there
    CONNECTOR:PATH.tar.gz                an archive on this disk

`open_packed` unpacks; whoever opened it closes it, and then nothing of it is left but the fetched archive in the cache.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from difflib import get_close_matches
from pathlib import Path

from vecferry.errors import ConfigError, Conflict, NotFound, PlanChanged
from vecferry.objects import access
from vecferry.objects.bucket import Bucket, Stat, open_bucket
from vecferry.objects.cache import IN_FLIGHT, Room, cache_folder, fetch, sweep
from vecferry.objects.disk import make_folder, reading, write_atomic
from vecferry.objects.tree import Tree, UnpackLimits
from vecferry.objects.unpack import is_archive_name, unpack
from vecferry.url import StoreUrl

OPTIONS = frozenset({"cache", "max_bytes", "max_files", "max_ratio"})
_SIZE = re.compile(r"(\d{1,18})([KMGT]?)(?:i?B)?", re.IGNORECASE)
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_ATTEMPTS = 3


class Packed:
    """What was packed, unpacked into `folder`. `version` changes whenever what is packed does."""

    def __init__(self, room: Room, *, where: str, version: str) -> None:
        self._room = room
        self.folder = room.folder
        self.where = where
        self.version = version

    def hold(self, folder: Path, what: str) -> str:
        """The identity of what is read, as a run keeps it; a note named `what` in `folder` says which state it is of.

        Raises:
            PlanChanged: a run began with another state of the `what` (archive, snapshot) than stands there now.
            StoreFull: the note cannot be written.
        """
        make_folder(folder)
        try:
            known = (folder / what).read_text(encoding="utf-8")
        except FileNotFoundError:
            write_atomic(folder / what, (known := self.version).encode())
        if known != self.version:
            raise PlanChanged(
                f"{self.where} was replaced since this run began.",
                hint=f"Put the earlier {what} back and run again, or begin anew with --restart.",
            )
        return f"{self.where}#{self.version}"

    def close(self) -> None:
        """Remove the folder. Idempotent."""
        self._room.close()


def is_packed(url: StoreUrl) -> bool:
    """Does `url` name something packed, rather than a folder or a server?"""
    if url.transport in access.TRANSPORTS:
        return True
    return url.host is None and is_archive_name(url.path) and not url.local_path.is_dir()


def open_packed(url: StoreUrl, *, known: frozenset[str] = frozenset()) -> Packed:
    """Fetch and unpack what `url` names. `known` are options that the connector reads itself.

    Raises:
        ConfigError: an option is unknown or has no sense. NotFound: nothing there; the hint lists near names.
        CorruptData: hostile or torn. AuthFailed, Unavailable, Throttled, StoreFull, Conflict: as they say.
    """
    remote = url.transport is not None
    check_options(url, known | OPTIONS | (access.OPTIONS if remote else frozenset()), remote=remote)
    limits = _limits(url)
    cache = cache_folder(url.options.get("cache"))
    sweep(cache)
    room = Room(cache)
    try:
        where, version = (_fetched if remote else _local)(url, room.folder, limits)
    except BaseException:
        room.close()
        raise
    return Packed(room, where=where, version=version)


def check_options(url: StoreUrl, known: frozenset[str], *, remote: bool) -> None:
    """Refuse what nobody reads; names only, a value may be a secret.

    Raises:
        ConfigError: says which options there are.
    """
    unknown = sorted((url.options.keys() - known) | (url.secrets.keys() - (access.SECRETS if remote else frozenset())))
    if unknown:
        scheme = f"{url.scheme}+{url.transport}://" if url.transport else f"{url.scheme}:"
        raise ConfigError(
            f"{scheme} does not know the option {', '.join(unknown)}.",
            hint=f"Known: {', '.join(sorted(known | (access.SECRETS if remote else frozenset())))}.",
        )


def _limits(url: StoreUrl) -> UnpackLimits:
    given = {name: _number(name, url.options[name]) for name in OPTIONS - {"cache"} if name in url.options}
    return UnpackLimits(**given)


def _number(name: str, text: str) -> int:
    found = _SIZE.fullmatch(text)
    if found is None or not int(found[1]):
        raise ConfigError(f"{name}={text} is no number.", hint=f"Write {name}=1000, or {name}=20G for bytes.")
    return int(found[1]) << _UNITS[found[2].lower()]


# --------------------------------------------------------------------------- in a bucket


def _fetched(url: StoreUrl, folder: Path, limits: UnpackLimits) -> tuple[str, str]:
    """Unpack what stands in a bucket; looked at anew where it is replaced while it is fetched."""
    bucket, key = open_bucket(url)
    cache = folder.parents[1]
    for attempt in range(_ATTEMPTS):
        stat = bucket.stat(key) if key else None
        files = [] if stat is not None else sorted(bucket.objects(key), key=lambda one: one.key)
        if stat is None and not files:
            raise bucket.missing(key)
        try:
            if stat is not None:
                file = fetch(bucket, stat, cache).file
                unpack(file, folder, limits=limits, shown=bucket.shown(key))
            else:
                _copy_all(bucket, key, files, folder, limits)
            return f"{bucket.place}/{key}", _version([stat] if stat is not None else files)
        except Conflict:
            if attempt == _ATTEMPTS - 1 or any(folder.iterdir()):
                raise
    raise AssertionError


def _copy_all(bucket: Bucket, prefix: str, files: Sequence[Stat], folder: Path, limits: UnpackLimits) -> None:
    """The files below a prefix, under the same rules as those in an archive."""
    cache = folder.parents[1]
    files = [stat for stat in files if stat.size or not stat.key.endswith("/")]  # consoles make empty "folders"
    with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="vecferry-fetch") as pool:
        fetched = list(pool.map(lambda stat: fetch(bucket, stat, cache), files))
    total, shown = sum(stat.size for stat in files), f"{bucket.shown(prefix)}/"
    with Tree(folder, limits=limits, packed_bytes=total, shown=shown) as tree:
        for stat, one in zip(files, fetched, strict=True):
            with one.file.open("rb") as content:
                tree.write_file(stat.key.removeprefix(prefix).lstrip("/"), content)


def _version(stats: Sequence[Stat]) -> str:
    facts = [[stat.key, stat.size, stat.etag or stat.modified.isoformat()] for stat in stats]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


# --------------------------------------------------------------------------- on this disk


def _local(url: StoreUrl, folder: Path, limits: UnpackLimits) -> tuple[str, str]:
    path = url.local_path
    try:
        with reading(path), path.open("rb") as file:
            version = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        names = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        near = get_close_matches(path.name, names, n=3)
        raise NotFound(
            f"There is no archive {path}.",
            store=str(url),
            hint=f"There are: {', '.join(near)}." if near else "Check the path.",
        ) from error
    before = path.stat()
    unpack(path, folder, limits=limits, shown=str(path))
    after = path.stat()
    if (before.st_size, before.st_mtime_ns, before.st_ino) != (after.st_size, after.st_mtime_ns, after.st_ino):
        raise Conflict(f"{path} changed while it was read.", store=str(url), hint="Run the same command again.")
    return str(path), version
