"""Removing folders: all that can be removed, and a word about the rest."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from vecferry.errors import StoreFull, Unavailable, VecferryError
from vecferry.objects.place import DiskPlace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "archive"
    for name in ("a/1", "b/2", "b/stuck", "c/3"):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(name)
    return made


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_all_of_it_goes(folder: Path) -> None:
    DiskPlace(folder).remove_all()
    assert not folder.exists()


def test_what_is_not_there_needs_no_removing(folder: Path) -> None:
    DiskPlace(folder).below("none").remove_all()
    DiskPlace(folder).below("a").below("1").remove_all()
    assert left(folder) == ["a/1", "b/2", "b/stuck", "c/3"]


@pytest.mark.parametrize(
    "number,kind", [(errno.EACCES, StoreFull), (errno.EROFS, StoreFull), (errno.EIO, Unavailable)], ids=str
)
def test_what_cannot_be_removed_is_named_and_the_rest_goes(
    number: int, kind: type[VecferryError], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests may run as root, whom no mode stops: so the system's call refuses."""
    unlink = os.unlink

    def refuses(path: Any, **options: Any) -> None:
        if str(path).endswith("stuck"):
            raise OSError(number, os.strerror(number), path)
        unlink(path, **options)

    monkeypatch.setattr(os, "unlink", refuses)
    with pytest.raises(kind) as caught:
        DiskPlace(folder).remove_all()
    assert "stuck cannot be removed: " in caught.value.message
    assert os.strerror(number) in caught.value.message
    assert str(folder) in str(caught.value.hint)
    assert left(folder) == ["b/stuck"]


def test_a_link_to_a_folder_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(VecferryError, match="link cannot be removed"):
        DiskPlace(tmp_path / "link").remove_all()
    assert left(folder) == ["a/1", "b/2", "b/stuck", "c/3"]
