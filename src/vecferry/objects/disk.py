"""How archives touch the disk: atomic and durable writes, locks between processes, and errors with a name."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from vecferry.errors import AuthFailed, StoreFull, Unavailable

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}
TEMPORARY = ".tmp-"
"""Prefix of files that are being written; nobody reads them."""


def write_atomic(path: Path, data: bytes | memoryview) -> None:
    """Put `data` at `path`, whole or not at all, and durable when this returns.

    Raises:
        StoreFull: no space left, or no right to write.
    """
    with replacing(path) as file:
        file.write(data)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` when the block ends: whole and durable, or not at all.

    Raises:
        StoreFull: no space left, or no right to write; what was there is as it was.
    """
    temporary = path.with_name(f"{TEMPORARY}{uuid4().hex}")
    with writing(path):
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def append(path: Path, data: bytes) -> None:
    """Add whole lines to a journal, durable when this returns; the torn line of a killed writer is cut off first.

    Raises:
        StoreFull: no space left, or no right to write; the journal is as it was.
    """
    with writing(path), path.open("ab+", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        extend(file.fileno(), _whole_lines(file.fileno()), data)


def extend(descriptor: int, end: int, data: bytes) -> None:
    """Put `data` at `end` of an open file, durable when this returns; what stands behind `end` is cut off."""
    os.ftruncate(descriptor, end)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    except BaseException:
        os.ftruncate(descriptor, end)
        raise


def _whole_lines(descriptor: int) -> int:
    """Where the last whole line ends."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - 65_536)
        block = os.pread(descriptor, end - start, start)
        cut = block.rfind(b"\n")
        if cut >= 0:
            return start + cut + 1
        end = start
    return 0


def make_folder(path: Path) -> None:
    """Make a folder and those above it, durable when this returns.

    Raises:
        StoreFull: no space left, or no right to write.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        sync_folder(path.parent)


def remove_folder(path: Path) -> None:
    """Remove a folder and everything in it, as far as that goes; what is no folder stays.

    Raises:
        StoreFull, Unavailable: some of it cannot be removed; the message names the first. The rest is gone.
    """
    shutil.rmtree(path, ignore_errors=True)
    if not path.is_dir():
        return
    try:
        shutil.rmtree(path)  # what is still there says why
    except OSError as error:
        kind = StoreFull if error.errno in _FULL else Unavailable
        raise kind(
            f"{error.filename or path} cannot be removed: {error.strerror or error}.",
            store=str(path),
            hint=f"All that could be removed of {path} is gone; remove the rest, or run the same command again.",
        ) from error


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock file `path`, alone or with others, across threads and processes; a killed process lets go."""
    with writing(path):
        file = path.open("ab")
    with file:
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the disk's refusals into `StoreFull`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFull(
                f"{path} cannot be written: {error.strerror}.",
                store=str(path),
                hint="Free space or give the right to write, then run the same command: what was written is kept.",
            ) from error
        raise _plain(path, error) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the disk's refusals, other than a missing file, into our errors."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise
    except PermissionError as error:
        raise AuthFailed(f"{path} may not be read.", store=str(path), hint="Ask its owner for the right.") from error
    except OSError as error:
        raise _plain(path, error) from error


def _plain(path: Path, error: OSError) -> Unavailable:
    return Unavailable(f"{path}: {error.strerror}.", store=str(path), hint="Check the disk or the network share.")
