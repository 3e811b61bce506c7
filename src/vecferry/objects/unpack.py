"""The strict extractor: tar (plain, gzip, zstd) and zip into a folder, or not at all.

What an archive is, its first bytes say, not its name. Only plain files and folders are taken; a link, a device, an
encrypted entry or anything else refuses the whole archive, and so does one that was cut off: the checksums of gzip,
zstd and zip are checked to the end, and a tar must end with the mark that every tar ends with.
"""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self, cast

import pyarrow as pa

from vecferry.errors import CorruptData
from vecferry.objects.tree import PIECE_BYTES, Tree, UnpackLimits

SUFFIXES = (".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar", ".zip")
_HEADER_BYTES = 1 << 20
"""Extended headers of tar are read into memory; nobody's names are longer than this."""
_EXTENDED = frozenset(
    {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
)
_TORN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OverflowError, UnicodeError)


def is_archive_name(name: str) -> bool:
    """Does a file of this name claim to be an archive that we read?"""
    return name.lower().endswith(SUFFIXES)


def unpack(archive: Path, folder: Path, *, limits: UnpackLimits, shown: str) -> None:
    """Unpack `archive` into the empty `folder`, which is ours alone; `shown` is what messages call the archive.

    Raises:
        CorruptData: no archive, torn, hostile, or more than `limits` allow; what stands in `folder` then is rubbish.
        StoreFull: no room.
    """
    kind = _kind(archive, shown)
    with Tree(folder, limits=limits, packed_bytes=archive.stat().st_size, shown=shown) as tree, _torn(shown):
        if kind == "zip":
            _unzip(archive, tree, shown, limits)
        else:
            _untar(archive, kind, tree, shown)


def _kind(archive: Path, shown: str) -> str:
    """zip, gzip, zstd or tar, by the first bytes."""
    with archive.open("rb") as file:
        head = file.read(512)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return "zstd"
    if head[257:262] == b"ustar":
        return "tar"
    what = "It is empty." if not head else "It is a web page." if head.lstrip()[:1] == b"<" else "It is something else."
    raise CorruptData(
        f"{shown} is no archive that vecferry reads. {what}",
        hint="Name a .tar.gz, .tar.zst, .tar or .zip; it may be that an upload or a download failed.",
    )


@contextmanager
def _torn(shown: str) -> Iterator[None]:
    try:
        yield
    except (*_TORN, pa.ArrowException, OSError) as error:  # pyarrow says OSError without a number
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise CorruptData(
            f"{shown} is torn: {str(error).rstrip('.')[:200]}.",
            hint="Fetch or upload it again; vecferry uses nothing of an archive that is not whole.",
        ) from error


# --------------------------------------------------------------------------- tar


class _Header(tarfile.TarInfo):
    """A header that is right, or the archive is torn: tarfile takes a broken one for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise  # the mark at the end
            raise tarfile.ReadError(f"a header is broken or missing ({error})") from error
        if header.size < 0 or (header.type in _EXTENDED and header.size > _HEADER_BYTES):
            raise tarfile.ReadError(f"a header says a size of {header.size} bytes")
        return header


class _Counted:
    """A stream whose every byte is counted against the limits."""

    def __init__(self, stream: Any, count: Callable[[int], None]) -> None:
        self._stream, self._count, self._read = stream, count, 0

    def read(self, size: int) -> bytes:
        piece: bytes = self._stream.read(size)
        self._read += len(piece)
        self._count(self._read)
        return piece


def _untar(archive: Path, kind: str, tree: Tree, shown: str) -> None:
    with pa.input_stream(str(archive), compression=None if kind == "tar" else kind) as stream:
        counted = _Counted(stream, tree.count_read)
        with tarfile.open(fileobj=cast(IO[bytes], counted), mode="r|", tarinfo=_Header) as tar:
            for member in tar:
                _take(tar, member, tree, shown)
                vars(tar)["members"] = []  # else it remembers all of them
        while counted.read(PIECE_BYTES):  # to the checksum at the very end
            pass


def _take(tar: tarfile.TarFile, member: tarfile.TarInfo, tree: Tree, shown: str) -> None:
    if member.isdir():
        tree.make_folder(member.name)
    elif member.isreg():
        content = tar.extractfile(member)
        assert content is not None
        tree.write_file(member.name, content)
    else:
        kind = "a link" if member.issym() or member.islnk() else "a device or another special file"
        raise _special(shown, kind)


# --------------------------------------------------------------------------- zip


def _unzip(archive: Path, tree: Tree, shown: str, limits: UnpackLimits) -> None:
    with zipfile.ZipFile(archive) as packed:
        members = packed.infolist()
        if len(members) > limits.max_files:
            members = members[: limits.max_files + 1]  # the tree says it in words
        for member in members:
            mode = member.external_attr >> 16 & 0o170000
            if mode not in {0, 0o100000, 0o040000}:
                raise _special(shown, "a link" if mode == 0o120000 else "a device or another special file")
            if member.flag_bits & 0x1:
                raise _special(shown, "an encrypted file")
            if member.is_dir():
                tree.make_folder(member.filename)
            else:
                _take_zipped(packed, member, tree, shown)


def _take_zipped(packed: zipfile.ZipFile, member: zipfile.ZipInfo, tree: Tree, shown: str) -> None:
    try:
        with packed.open(member) as content:
            tree.write_file(member.orig_filename, content)
    except NotImplementedError as error:
        raise _special(shown, "a file packed in a way that is not supported") from error


def _special(shown: str, what: str) -> CorruptData:
    return CorruptData(
        f"{shown} holds {what}: nothing of it is used.",
        hint="Make the archive again with plain files only: tar czhf chroma.tar.gz -C PARENT chroma_db",
    )
