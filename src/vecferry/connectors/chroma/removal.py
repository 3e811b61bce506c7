"""Removing a Chroma directory: only where nothing but Chroma's own files is in it, renamed first, no link followed.

What Chroma keeps: `chroma.sqlite3` with SQLite's companions, and one folder per vector index, named by a UUID.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from uuid import UUID

from vecferry.connectors.chroma.catalog import FILE
from vecferry.errors import Conflict, StoreFull
from vecferry.model import Belongings

_COMPANIONS = ("", "-wal", "-shm", "-journal")
_INDEX = frozenset({"header.bin", "data_level0.bin", "length.bin", "link_lists.bin", "index_metadata.pickle"})
_SHOWN = 5


def belongings(path: Path) -> Belongings:
    """What a directory holds.

    Raises:
        Conflict: it is a link, or holds what is not Chroma's.
    """
    if path.name in {"", ".."} or not stat.S_ISDIR(path.lstat().st_mode):
        raise Conflict(f"{path} is no directory of its own.", hint="Name the directory itself, and no link to it.")
    files = list(_files(path))
    strange = [str(file.relative_to(path)) for file in files if not _is_chromas(file.relative_to(path), file)]
    if strange:
        more = ", …" if len(strange) > _SHOWN else ""
        raise Conflict(
            f"{path} holds other things than Chroma's: {', '.join(strange[:_SHOWN])}{more}.",
            hint="Move them elsewhere, or remove what is to go by hand; the archive is there.",
        )
    states = sorted((str(file.relative_to(path)), file.lstat()) for file in files)
    told = "\n".join(f"{name} {at.st_ino} {at.st_size} {at.st_mtime_ns}" for name, at in states)
    size = sum(at.st_size for _, at in states)
    return Belongings(
        name=path.name,
        what=f"the directory {path}, {len(files):,} files, {size:,} bytes",
        state=hashlib.blake2b(told.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest(),
    )


def remove(path: Path, seen: Belongings) -> None:
    """Remove the directory, provided that it is as it was `seen`.

    It gets another name first: an app that still looks for it finds nothing, never a half of it.

    Raises:
        Conflict: it was written to since, or holds other things by now. StoreFull: it may not be removed.
    """
    if belongings(path).state != seen.state:
        raise Conflict(
            f"{path} was written to while it was compared with its archive. Nothing was removed.",
            hint="Stop what writes to it, then run the same command again.",
        )
    aside = path.with_name(f".{path.name}.removed-{token_hex(4)}")
    try:
        path.rename(aside)
        shutil.rmtree(aside)  # follows no link
    except OSError as error:
        left = aside if aside.exists() else path
        raise StoreFull(
            f"{left} cannot be removed: {error.strerror}.", hint="Remove it by hand; its archive is verified."
        ) from error


def _files(path: Path) -> Iterator[Path]:
    """Everything that is no directory, links to directories included."""
    for folder, folders, names in os.walk(path):
        here = Path(folder)
        yield from (here / name for name in names)
        yield from (here / name for name in folders if (here / name).is_symlink())


def _is_chromas(name: Path, file: Path) -> bool:
    """Is this one of Chroma's own files?"""
    if not stat.S_ISREG(file.lstat().st_mode):
        return False
    if len(name.parts) == 1:
        return name.name in {FILE + companion for companion in _COMPANIONS}
    return len(name.parts) == 2 and name.name in _INDEX and _is_uuid(name.parts[0])


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
