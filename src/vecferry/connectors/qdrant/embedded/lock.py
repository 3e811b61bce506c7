"""A lock file that the operating system releases when its process dies, however it dies."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import BinaryIO, cast


def lock(path: Path) -> BinaryIO:
    """Lock `path`, which is created where it is not there; hold the file to hold the lock.

    Raises:
        BlockingIOError: another process (or another open file of this one) holds it.
        OSError: the file cannot be created or opened for writing.
    """
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)
    try:
        _take(file)
    except BaseException:
        file.close()
        raise
    file.truncate(0)
    file.write(str(os.getpid()).encode())
    return file


def share(path: Path) -> BinaryIO:
    """Keep others from locking the existing file `path`, without writing to it; several may.

    Raises:
        BlockingIOError: somebody holds it locked.
    """
    file = path.open("rb", buffering=0)
    try:
        _share(file)
    except BaseException:
        file.close()
        raise
    return cast("BinaryIO", file)


def unlock(file: BinaryIO) -> None:
    """Give the lock back."""
    _give(file)
    file.close()


def owner(path: Path) -> str:
    """Who holds the lock, for a message."""
    try:
        return f"process {int(path.read_text())}"
    except (OSError, ValueError):
        return "another process"


if sys.platform == "win32":
    import msvcrt

    _FAR = 1 << 30
    """Windows locks bytes against reading too; a byte far behind the process number keeps that readable."""

    def _take(file: BinaryIO) -> None:
        file.seek(_FAR)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError from error
        finally:
            file.seek(0)

    def _share(file: BinaryIO) -> None:
        """Opening was enough: Windows refuses to open what is locked, and has no shared lock in `msvcrt`."""

    def _give(file: BinaryIO) -> None:
        file.seek(_FAR)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _take(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _share(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def _give(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)
