"""Copy files that somebody may be writing, and bring a copy up to date cheaply: clone where the file system can."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from dataclasses import dataclass
from pathlib import Path

from vecferry.errors import StoreFull

BLOCK = 1 << 20
RACY_NS = 20_000_000
"""A file changed this shortly before it was copied may change again without a new time stamp."""
FICLONE = 0x40049409


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a file looked like just before it was copied."""

    size: int
    changed_ns: int
    inode: int
    racy: bool

    @classmethod
    def of(cls, file: int) -> Stamp:
        stat = os.fstat(file)
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ino, time.time_ns() - stat.st_mtime_ns < RACY_NS)

    def still(self, file: int) -> bool:
        """True where the file cannot have changed since."""
        now = os.fstat(file)
        same = (now.st_size, now.st_mtime_ns, now.st_ino) == (self.size, self.changed_ns, self.inode)
        return same and not self.racy


class Mirror:
    """One file and our copy of it.

    The file stays open until `close`: closing *any* descriptor of a SQLite file drops this process's locks on it
    (POSIX), so the caller closes mirrors only after it has let its lock go.
    """

    def __init__(self, source: Path, target: Path) -> None:
        """Raises FileNotFoundError where `source` is not there."""
        self.source, self.target = source, target
        self._file = os.open(source, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._stamp: Stamp | None = None

    @property
    def stale(self) -> bool:
        """True where the copy may differ from the file."""
        return self._stamp is None or not self._stamp.still(self._file)

    @property
    def stale_bytes(self) -> int:
        """Bytes to look at before the copy is up to date."""
        return os.fstat(self._file).st_size if self.stale else 0

    def refresh(self) -> None:
        """Bring the copy up to date.

        Raises:
            StoreFull: no room for the copy.
        """
        if not self.stale:
            return
        stamp = Stamp.of(self._file)
        try:
            self._copy() if self._stamp is None else self._patch()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise StoreFull(
                    f"There is no room for a snapshot of {self.source.name} in {self.target.parent}: {error.strerror}.",
                    hint="Free some space, or name another folder (TMPDIR says where temporary snapshots go).",
                ) from error
            raise
        self._stamp = stamp

    def close(self) -> None:
        os.close(self._file)

    def replaced(self) -> bool:
        """True where another file has taken the name."""
        try:
            return self.source.stat().st_ino != os.fstat(self._file).st_ino
        except FileNotFoundError:
            return True

    def _copy(self) -> None:
        self.target.parent.mkdir(parents=True, exist_ok=True)
        target = os.open(self.target, os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600)
        try:
            if not _clone(self._file, target):
                _copy_bytes(self._file, target)
        finally:
            os.close(target)

    def _patch(self) -> None:
        """Rewrite only the blocks that differ."""
        target = os.open(self.target, os.O_RDWR | getattr(os, "O_BINARY", 0))
        try:
            if not _clone(self._file, target):
                _patch_bytes(self._file, target)
        finally:
            os.close(target)


def _clone(source: int, target: int) -> bool:
    """Share the blocks of `source` (reflink): instant, on file systems that can."""
    try:
        import fcntl

        fcntl.ioctl(target, FICLONE, source)
    except (ImportError, OSError):
        return False
    return True


def _copy_bytes(source: int, target: int) -> None:
    size, done = os.fstat(source).st_size, 0
    with contextlib.suppress(AttributeError, OSError):  # another file system, or no such call: copy by hand
        while done < size and (count := os.copy_file_range(source, target, size - done, done, done)):
            done += count
    while block := os.pread(source, BLOCK, done):
        os.pwrite(target, block, done)
        done += len(block)
    os.ftruncate(target, done)


def _patch_bytes(source: int, target: int) -> None:
    new, old, done = bytearray(BLOCK), bytearray(BLOCK), 0
    while count := os.preadv(source, [new], done):
        there = os.preadv(target, [old], done)
        if there != count or (new != old if count == BLOCK else new[:count] != old[:count]):
            os.pwrite(target, memoryview(new)[:count], done)
        done += count
    os.ftruncate(target, done)
