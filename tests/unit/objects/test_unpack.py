"""The strict extractor: what it takes, and every kind of archive that it refuses."""

from __future__ import annotations

import gzip
import io
import os
import struct
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pyarrow as pa
import pytest

from vecferry.errors import CorruptData
from vecferry.objects import unpack as module
from vecferry.objects.tree import RATIO_FROM_BYTES, UnpackLimits
from vecferry.objects.unpack import is_archive_name, unpack

FILES = {"db/chroma.sqlite3": b"SQLite format 3\x00" + os.urandom(100_000), "db/0a/length.bin": b"", "readme": b"hello"}


def tar_of(files: dict[str, bytes], *members: tarfile.TarInfo, form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for member in members:
            tar.addfile(member, io.BytesIO(bytes(member.size)) if member.isreg() else None)
    return out.getvalue()


def zip_of(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return out.getvalue()


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, "zstd", asbytes=True))


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


@pytest.fixture
def extract(tmp_path: Path) -> Callable[..., dict[str, bytes]]:
    """Unpacks bytes, and gives back every file that came out; nothing may have come out anywhere else."""

    numbers = count()

    def run(data: bytes, limits: UnpackLimits | None = None) -> dict[str, bytes]:
        archive, folder = tmp_path / "archive", tmp_path / "deep" / f"out{next(numbers)}"
        archive.write_bytes(data)
        folder.mkdir(parents=True)
        try:
            unpack(archive, folder, limits=limits or UnpackLimits(), shown="s3://bucket/archive")
        finally:
            outside = {p for p in tmp_path.rglob("*") if not p.is_relative_to(tmp_path / "deep") and p.is_file()}
            assert outside == {archive}
            assert not [p for p in folder.rglob("*") if p.is_symlink()]
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    return run


@pytest.mark.parametrize(
    "pack",
    [
        tar_of,
        lambda files: gzip.compress(tar_of(files)),
        lambda files: zstd(tar_of(files)),
        lambda files: tar_of(files, form=tarfile.GNU_FORMAT),
        lambda files: tar_of({"./" + name: data for name, data in files.items()}, member(".", tarfile.DIRTYPE)),
        zip_of,
        lambda files: zip_of(files, zipfile.ZIP_STORED),
        lambda files: zip_of(files, zipfile.ZIP_BZIP2),
    ],
    ids=["tar", "tar.gz", "tar.zst", "gnu", "dots", "zip", "zip-stored", "zip-bzip2"],
)
def test_what_was_packed_comes_out(extract, pack):
    assert extract(pack(FILES)) == FILES


def test_long_names_and_folders_come_out(extract):
    name = "/".join(["a" * 100] * 4 + ["ü" * 100])
    assert extract(tar_of({name: b"x"})) == {name: b"x"}
    assert extract_names(tar_of({name: b"x"}, form=tarfile.GNU_FORMAT)) == [name]


def extract_names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getnames()


def test_a_sparse_file_comes_out_whole(extract, tmp_path):
    """`tar -S` leaves holes out; HNSW files have them."""
    source = tmp_path / "archive"
    with source.open("wb") as file:
        file.truncate(2_000_000)
        file.seek(1_000_000)
        file.write(b"in the middle")
    content = source.read_bytes()
    command = ["tar", "-C", str(tmp_path), "-cSf", "-", "--transform", "s/archive/db/", "archive"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    assert len(data) < 100_000  # there are holes
    assert extract(data) == {"db": content}


# --------------------------------------------------------------------------- names


HOSTILE = [
    "../escape",
    "db/../../escape",
    "/etc/passwd",
    "//double",
    "a//b",
    "..",
    "a\\..\\..\\b",
    "C:/windows",
    "tab\there",
    "bell\x07",
    "x" * 300,
    "/".join("d" * 40),
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("pack", [tar_of, zip_of], ids=["tar", "zip"])
def test_a_hostile_name_is_refused(extract, pack, name):
    with pytest.raises(CorruptData, match=r"s3://bucket/archive holds the name '.*', which may lead outside") as caught:
        extract(pack({"first": b"1", name: b"2"}))
    assert caught.value.hint
    assert str(caught.value).isprintable() or "\n" in str(caught.value)
    assert "\x07" not in str(caught.value)


@pytest.mark.parametrize("name", ["../up/", "/abs/", "a/../../b/"])
def test_a_hostile_folder_is_refused(extract, name):
    with pytest.raises(CorruptData, match="lead outside"):
        extract(tar_of({}, member(name, tarfile.DIRTYPE)))


@pytest.mark.parametrize("names", [("a", "a"), ("db/a", "DB/a"), ("ä", "a\u0308"), ("a", "a/b"), ("a/b", "a")], ids=str)
def test_a_name_twice_is_refused_also_in_another_case_or_form(extract, names):
    data = tar_of({}, *(member(name, size=3) for name in names))
    with pytest.raises(CorruptData, match="twice"):
        extract(data)


# --------------------------------------------------------------------------- kinds


SPECIAL = {
    "symlink": member("link", tarfile.SYMTYPE, linkname="/etc/passwd"),
    "symlink-inside": member("link", tarfile.SYMTYPE, linkname="db"),
    "hardlink": member("link", tarfile.LNKTYPE, linkname="db/chroma.sqlite3"),
    "char": member("null", tarfile.CHRTYPE, devmajor=1, devminor=3),
    "block": member("disk", tarfile.BLKTYPE, devmajor=8),
    "fifo": member("pipe", tarfile.FIFOTYPE),
    "contiguous": member("contiguous", tarfile.CONTTYPE),
}


@pytest.mark.parametrize("kind", sorted(SPECIAL.keys() - {"contiguous"}))
def test_links_and_devices_are_refused(extract, kind):
    with pytest.raises(CorruptData, match=r"holds a (link|device)"):
        extract(tar_of({"db/chroma.sqlite3": b"x"}, SPECIAL[kind]))


def test_a_link_in_a_zip_is_refused(extract):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        packed.writestr(info, "/etc/passwd")
    with pytest.raises(CorruptData, match="holds a link"):
        extract(out.getvalue())


def test_an_encrypted_zip_is_refused(extract):
    data = bytearray(zip_of({"a": b"secret"}))
    for at in (data.find(b"PK\x03\x04") + 6, data.find(b"PK\x01\x02") + 8):
        data[at] |= 1
    with pytest.raises(CorruptData, match="encrypted"):
        extract(bytes(data))


# --------------------------------------------------------------------------- bombs


def test_a_bomb_by_ratio_stops_early(extract, tmp_path):
    bomb = gzip.compress(tar_of({"zeros": bytes(RATIO_FROM_BYTES + (64 << 20))}), 9)
    with pytest.raises(CorruptData, match=r"200 times its own size") as caught:
        extract(bomb)
    assert "max_ratio" in caught.value.hint
    written = sum(p.stat().st_size for p in (tmp_path / "deep").rglob("*") if p.is_file())
    assert written <= RATIO_FROM_BYTES + (1 << 20)


@pytest.mark.parametrize("pack", [tar_of, zip_of, lambda files: zstd(tar_of(files))], ids=["tar", "zip", "tar.zst"])
def test_more_bytes_than_allowed_are_refused(extract, pack):
    with pytest.raises(CorruptData, match="more than 50,000 bytes"):
        extract(pack({"a": os.urandom(30_000), "b": os.urandom(30_000)}), UnpackLimits(max_bytes=50_000))


@pytest.mark.parametrize("pack", [tar_of, zip_of], ids=["tar", "zip"])
def test_more_files_than_allowed_are_refused(extract, pack):
    with pytest.raises(CorruptData, match="more than 20 files"):
        extract(pack({f"d{n}/f": b"" for n in range(11)}), UnpackLimits(max_files=20))


def test_a_zip_that_lies_about_a_size_is_refused(extract):
    """The size in the directory says 5 bytes; ten megabytes of zeros stand behind it."""
    data = bytearray(zip_of({"a": bytes(10 << 20)}))
    at = data.find(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 5)
    with pytest.raises(CorruptData):
        extract(bytes(data), UnpackLimits(max_bytes=1 << 20))


def test_a_bomb_of_headers_is_refused(extract):
    """An extended header is read into memory; one that claims gigabytes is not."""
    info = member("x", tarfile.XHDTYPE, size=1 << 33)
    with pytest.raises(CorruptData, match="torn"):
        extract(info.tobuf() + bytes(10_240))


def test_trailing_bytes_are_counted_too(extract):
    data = gzip.compress(tar_of({"a": b"x"}) + bytes(5_000_000))
    with pytest.raises(CorruptData, match="more than 100,000 bytes"):
        extract(data, UnpackLimits(max_bytes=100_000))


# --------------------------------------------------------------------------- torn


@pytest.mark.parametrize("pack", [gzip.compress, zstd, bytes], ids=["gzip", "zstd", "tar"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
def test_a_cut_tar_is_refused_wherever_it_was_cut(extract, pack, kept):
    data = pack(tar_of(FILES))
    if pack is bytes:
        data = data[: -data[::-1].find(data.rstrip(b"\0")[-1:])]  # without the mark at its end
    with pytest.raises(CorruptData, match="torn"):
        extract(data[: int(len(data) * kept)])


def test_a_tar_cut_between_two_files_is_refused(extract):
    """tarfile itself takes this for a whole archive, with one file less."""
    data = tar_of({"a": bytes(512), "b": bytes(512)})
    with pytest.raises(CorruptData, match="torn"):
        extract(data[:1024])


def test_a_broken_header_in_the_middle_is_refused(extract):
    """tarfile itself ends the archive here, without a word."""
    data = bytearray(tar_of({"a": bytes(512), "b": bytes(512)}))
    data[1024 + 3] ^= 1
    with pytest.raises(CorruptData, match="torn"):
        extract(bytes(data))


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
def test_a_cut_zip_is_refused(extract, kept):
    data = zip_of(FILES)
    with pytest.raises(CorruptData, match="torn"):
        extract(data[: int(len(data) * kept)])


def test_a_flipped_bit_is_found_by_the_checksum(extract):
    data = bytearray(gzip.compress(tar_of(FILES), 0))
    data[50_000] ^= 1
    with pytest.raises(CorruptData, match="torn"):
        extract(bytes(data))
    packed = bytearray(zip_of(FILES, zipfile.ZIP_STORED))
    packed[50_000] ^= 1
    with pytest.raises(CorruptData, match="torn"):
        extract(bytes(packed))


@pytest.mark.parametrize(
    "data, what",
    [
        (b"", "empty"),
        (b"<html><body>404 Not Found</body></html>", "web page"),
        (b"SQLite format 3\x00" + bytes(5000), "something else"),
        (b"BZh91AY&SY" + bytes(100), "something else"),
        (zlib.compress(b"x" * 1000), "something else"),
    ],
    ids=["empty", "html", "sqlite", "bz2", "zlib"],
)
def test_what_is_no_archive_is_said(extract, data, what):
    with pytest.raises(CorruptData, match=f"no archive that vecferry reads. It is (a )?{what}"):
        extract(data)


def test_gzip_of_something_else_is_refused(extract):
    with pytest.raises(CorruptData, match="torn"):
        extract(gzip.compress(os.urandom(100_000)))
    with pytest.raises(CorruptData, match="torn"):
        extract(gzip.compress(b""))


def test_names_of_archives():
    assert all(is_archive_name(f"x{end}") for end in (*module.SUFFIXES, ".TGZ", ".Tar.Gz"))
    assert not any(is_archive_name(name) for name in ("x", "x.gz", "tar.gz.d", "x.parquet"))
