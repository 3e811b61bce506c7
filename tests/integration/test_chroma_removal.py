"""Removing a Chroma directory: all of it and nothing else, and not at all where that is not certain."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chroma_data import NAMES, ChromaData
from vecferry.connectors.chroma.removal import belongings, remove
from vecferry.errors import Conflict

Copy = Callable[[str], ChromaData]


@pytest.mark.parametrize("version", NAMES)
def test_a_directory_of_every_version_goes_as_a_whole(version: str, chroma_copy: Copy) -> None:
    """Whatever a version of Chroma leaves there is known as Chroma's; nothing is left beside it."""
    path = chroma_copy(version).path
    seen = belongings(path)
    assert (seen.name, str(path) in seen.what) == (path.name, True)
    beside = {other.name for other in path.parent.iterdir()} - {path.name}
    remove(path, seen)
    assert {other.name for other in path.parent.iterdir()} == beside


def _file(path: Path) -> None:
    (path / "notes.txt").write_text("mine")


def _hidden_folder(path: Path) -> None:
    (path / ".git").mkdir()
    (path / ".git" / "config").write_text("mine")


def _deep(path: Path) -> None:
    index = next(file for file in path.iterdir() if file.is_dir())
    (index / "mine.bin").write_text("mine")


def _link(path: Path) -> None:
    (path / "elsewhere").symlink_to(path.parent)


def _link_in_disguise(path: Path) -> None:
    target = path.parent / "precious"
    target.write_text("mine")
    (path / "chroma.sqlite3-wal").unlink(missing_ok=True)
    (path / "chroma.sqlite3-wal").symlink_to(target)


@pytest.mark.parametrize("make", [_file, _hidden_folder, _deep, _link, _link_in_disguise])
def test_other_things_in_it_are_never_removed(make: Callable[[Path], None], chroma_copy: Copy) -> None:
    """Named, and everything stays."""
    path = chroma_copy("1.5.9").path
    make(path)
    before = sorted(path.rglob("*"))
    with pytest.raises(Conflict, match="other things than Chroma's"):
        belongings(path)
    assert sorted(path.rglob("*")) == before


def test_a_link_to_a_directory_is_not_followed(chroma_copy: Copy, tmp_path: Path) -> None:
    path = chroma_copy("1.5.9").path
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(Conflict, match="no directory of its own"):
        belongings(link)
    assert path.is_dir()


def test_what_was_written_to_since_stays(chroma_copy: Copy) -> None:
    """Even where only a time has changed: somebody was there."""
    path = chroma_copy("1.5.9").path
    seen = belongings(path)
    os.utime(path / "chroma.sqlite3", ns=(1, 1))
    with pytest.raises(Conflict, match="was written to"):
        remove(path, seen)
    assert (path / "chroma.sqlite3").exists()
