"""A folder that an archive is unpacked into: nothing gets out of it, and no more gets into it than was allowed.

Names are taken for hostile. Refused are absolute ones, `..`, backslashes, drive letters, control characters, names
that are there already, also in another case or another Unicode form, and everything deeper than `DEPTH`. Every file is
opened relative to the descriptor of its folder, never following a link, and must not be there yet.
"""

from __future__ import annotations

import errno
import os
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Protocol, Self

from vecferry.errors import CorruptData, StoreFull, VecferryError

DEPTH = 32
NAME_BYTES = 255
PIECE_BYTES = 1 << 20
RATIO_FROM_BYTES = 100 << 20
"""Less than this may be packed as tightly as it likes: a small file of zeros is no bomb."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM})


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpackLimits:
    """How much may come out of one archive: bytes, files and folders, and bytes for each packed byte."""

    max_bytes: int = 100 << 30
    max_files: int = 100_000
    max_ratio: int = 200


class Content(Protocol):
    """What a file's bytes are read from."""

    def read(self, size: int, /) -> bytes: ...


class Tree:
    """Writes files and folders below `root`, which must be empty and ours alone. A context manager.

    Raises:
        CorruptData: a name is hostile, or a limit is passed. StoreFull: no room.
    """

    def __init__(self, root: Path, *, limits: UnpackLimits, packed_bytes: int, shown: str) -> None:
        self._limits, self._shown = limits, shown
        self._most = min(limits.max_bytes, max(RATIO_FROM_BYTES, packed_bytes * limits.max_ratio))
        self._bytes = 0
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._files: set[tuple[str, ...]] = set()
        self._root = os.open(root, _FOLDER)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        os.close(self._root)

    def make_folder(self, name: str) -> None:
        """An empty folder, and those above it."""
        path = self._path(name)
        if path:
            with self._disk():
                os.close(self._folder(path))

    def write_file(self, name: str, content: Content) -> None:
        """A file, with the folders above it."""
        path = self._path(name)
        if not path:
            self._refuse(f"holds a file with the name '{_printed(name)}'")
        with self._disk():
            folder = self._folder(path[:-1])
            try:
                self._note(path, is_file=True)
                with os.fdopen(os.open(path[-1], _FILE, 0o600, dir_fd=folder), "wb") as out:
                    for piece in _pieces(content):
                        self._count(len(piece))
                        if piece.count(0) < len(piece):
                            out.write(piece)
                        else:  # a hole takes no room: databases keep files that are mostly holes
                            out.seek(len(piece), os.SEEK_CUR)
                    out.truncate()
            finally:
                os.close(folder)

    def count_read(self, size: int) -> None:
        """Bytes that came out of the archive without becoming a file: headers, padding, what is skipped."""
        if size > self._most:
            self._too_much()

    # ----------------------------------------------------------------------- within

    def _path(self, name: str) -> tuple[str, ...]:
        """The parts of a name, `.` left out; empty for the folder itself."""
        parts = tuple(part for part in name.rstrip("/").split("/") if part != ".")
        if len(parts) > DEPTH or any(map(_is_hostile, parts)):
            self._refuse(f"holds the name '{_printed(name)}', which may lead outside of it")
        return parts

    def _folder(self, path: Iterable[str]) -> int:
        """A descriptor of the folder `path`, which is made where it is missing."""
        here = os.dup(self._root)
        walked: tuple[str, ...] = ()
        try:
            for part in path:
                walked = (*walked, part)
                if self._note(walked, is_file=False):
                    os.mkdir(part, 0o700, dir_fd=here)
                below = os.open(part, _FOLDER, dir_fd=here)
                os.close(here)
                here = below
        except BaseException:
            os.close(here)
            raise
        return here

    def _note(self, path: tuple[str, ...], *, is_file: bool) -> bool:
        """Keep a name in mind; True where it is new. A folder may be named again, a file never."""
        key = tuple(unicodedata.normalize("NFC", part).casefold() for part in path)
        known = self._names.get(key)
        if known is not None:
            if is_file or known != path or key in self._files:
                self._refuse(f"holds '{_printed('/'.join(path))}' twice")
            return False
        self._names[key] = path
        if is_file:
            self._files.add(key)
        if len(self._names) > self._limits.max_files:
            raise CorruptData(
                f"{self._shown} holds more than {self._limits.max_files:,} files and folders.",
                hint="If you trust it, allow more with the option max_files=N in its URL.",
            )
        return True

    def _count(self, size: int) -> None:
        self._bytes += size
        if self._bytes > self._most:
            self._too_much()

    def _too_much(self) -> None:
        most = f"{self._most:,} bytes"
        tight = self._most < self._limits.max_bytes
        raise CorruptData(
            f"{self._shown} unpacks to more than {most}"
            + (f", {self._limits.max_ratio} times its own size." if tight else "."),
            hint=f"If you trust it, allow more with the option max_{'ratio' if tight else 'bytes'}=N in its URL.",
        )

    def _refuse(self, why: str) -> NoReturn:
        raise CorruptData(
            f"{self._shown} {why}: nothing of it is used.",
            hint="Make the archive again with plain files only: tar czf chroma.tar.gz -C PARENT chroma_db",
        )

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """Turn the disk's refusals into our errors; what went wrong in reading the archive stays as it is."""
        try:
            yield
        except VecferryError:
            raise
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise StoreFull(
                f"{self._shown} cannot be unpacked: {error.strerror}.",
                hint="Free space, or name another folder with VECFERRY_CACHE=DIR or the option cache=DIR.",
            ) from error


def _is_hostile(part: str) -> bool:
    """May this part of a name lead elsewhere, on this system or another, or upset a terminal?"""
    if part in {"", ".."} or part[1:2] == ":" or len(part.encode("utf-8", "replace")) > NAME_BYTES:
        return True
    return any(char in "\\\x7f" or char < " " or "\ud800" <= char <= "\udfff" for char in part)


def _pieces(content: Content) -> Iterator[bytes]:
    while piece := content.read(PIECE_BYTES):
        yield piece


def _printed(name: str) -> str:
    """A hostile name for a message: short, and nothing that a terminal obeys."""
    return "".join(char if char.isprintable() else "\ufffd" for char in name)[:100]
