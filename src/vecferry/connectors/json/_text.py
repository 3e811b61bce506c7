"""A JSON file as memory that the disk holds: mapped where it lies, unpacked into a temporary file where it is packed.

Nothing here reads the file whole. What was looked at is let go of again (`release`), so that a file of any size takes
the memory of the part that is being looked at.
"""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import xxhash

from vecferry.errors import AuthFailed, CorruptData, NotFound, StoreFull, Unavailable

MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
"""First bytes -> how the file is packed (RFC 1952, RFC 8878)."""
_NOT_UTF8 = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x00\x00": "UTF-32"}
BOM = b"\xef\xbb\xbf"
_COPY_BYTES = 1 << 20
_RELEASE_BYTES = 16 << 20


class Text:
    """The bytes of one JSON file, unpacked. Whoever opens it closes it; slices of `data` are copies.

    Attributes:
        start: where the JSON begins: behind a byte order mark.
        packing: `gzip`, `zstd` or empty.
    """

    def __init__(self, path: Path) -> None:
        """Open `path`.

        Raises:
            NotFound, AuthFailed, Unavailable: it cannot be read.
            CorruptData: empty, torn where it is packed, or not UTF-8.
            StoreFull: no space to unpack it.
        """
        self.path, self._digest = path, ""
        with _opening(path), path.open("rb") as file:
            head = file.read(4)
            self.packing = next((name for magic, name in MAGIC.items() if head.startswith(magic)), "")
            self._file = _unpacked(path, self.packing) if self.packing else os.fdopen(os.dup(file.fileno()), "rb")
        try:
            self._stat = self._now()
            if not self.size:
                raise corrupt(path, "is empty", "Remove it, or take the backup again.")
            self.data = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        except BaseException:
            self._file.close()
            raise
        self.start = len(BOM) if self.data[:3] == BOM else 0
        wide = _NOT_UTF8.get(self.data[:2])
        if wide:
            self.close()
            raise corrupt(path, f"is {wide}, not UTF-8", f"Convert it: iconv -f {wide} -t UTF-8")

    @property
    def size(self) -> int:
        """Bytes, unpacked."""
        return self._stat[0]

    def check(self) -> None:
        """Make sure that nobody has written into the file since it was opened.

        Raises:
            CorruptData: somebody has.
        """
        if self._now() != self._stat:
            raise corrupt(self.path, "was changed while it was read", "Run the command again when it is written.")

    def release(self) -> None:
        """Let go of the memory that mirrors the file."""
        if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows, which trims by itself
            self.data.madvise(mmap.MADV_DONTNEED)

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes of a span, about a megabyte at a time."""
        for position in range(start, end, _COPY_BYTES):
            yield self.data[position : min(position + _COPY_BYTES, end)]
            if position % _RELEASE_BYTES == 0:
                self.release()

    def digest(self) -> str:
        """What tells this content from any other, computed once."""
        if not self._digest:
            hashed = xxhash.xxh3_128()
            for piece in self.pieces(0, self.size):
                hashed.update(piece)
            self._digest = f"xxh3-{hashed.hexdigest()}"
        return self._digest

    def place(self, position: int) -> str:
        """Where a byte stands, for a person: `line 3, column 7 (byte 120)`."""
        line, begins = 1, self.start
        while (found := self.data.find(b"\n", begins, position)) >= 0:
            line, begins = line + 1, found + 1
        return f"line {line}, column {position - begins + 1} (byte {position})"

    def malformed(self, position: int, problem: str) -> CorruptData:
        """The error for a place where the file is not what it should be."""
        cut = f"the file ends there, after {self.size:,} bytes" if position >= self.size else problem
        return corrupt(
            self.path,
            f"cannot be read at {self.place(min(position, self.size))}: {cut}"
            + (f" ({problem})" if cut != problem else ""),
            "It is cut off or was edited: take the backup again, or mend it at that place.",
        )

    def close(self) -> None:
        """Let go of the file and of what was unpacked. Idempotent."""
        self.data.close()
        self._file.close()

    def _now(self) -> tuple[int, int]:
        now = os.fstat(self._file.fileno())
        return now.st_size, now.st_mtime_ns


def corrupt(path: Path, problem: str, hint: str) -> CorruptData:
    """The error for a file that is not what it should be."""
    return CorruptData(f"{path} {problem}.", hint=hint, file=str(path))


@contextmanager
def _opening(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"There is no file {path}.", store=str(path), hint="Check the path.") from error
    except PermissionError as error:
        raise AuthFailed(f"{path} may not be read.", store=str(path), hint="Ask its owner for the right.") from error
    except IsADirectoryError as error:
        raise NotFound(f"{path} is a folder.", store=str(path), hint="Name the file itself.") from error
    except OSError as error:
        raise Unavailable(f"{path}: {error}.", store=str(path), hint="Check the disk or the network share.") from error


def _unpacked(path: Path, packing: str) -> BinaryIO:
    """A temporary file, already without a name, with the unpacked bytes.

    Raises:
        CorruptData: torn, or changed since it was packed.
        StoreFull: the disk is full.
    """
    unpacked = tempfile.TemporaryFile(prefix="vecferry-json-")  # noqa: SIM115 (the caller closes it)
    try:
        with pa.input_stream(str(path), compression=packing, buffer_size=_COPY_BYTES) as source:
            shutil.copyfileobj(source, unpacked, _COPY_BYTES)
        unpacked.flush()
    except OSError as error:
        unpacked.close()
        if error.errno == errno.ENOSPC:
            raise StoreFull(
                f"There is no space to unpack {path} in {tempfile.gettempdir()}.",
                store=str(path),
                hint="Free space, or set TMPDIR to a folder that has it.",
            ) from error
        raise corrupt(
            path, f"cannot be unpacked ({packing}): {error}", "It is cut off or damaged: take the backup again."
        ) from error
    return unpacked
