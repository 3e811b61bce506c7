"""The note that holds a run to the state of an archive that it began with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from vecferry.errors import PlanChanged
from vecferry.objects.cache import Room, cache_folder
from vecferry.objects.packed import Packed


@pytest.fixture
def packed(tmp_path: Path) -> Iterator[Packed]:
    with closing(Packed(Room(cache_folder(str(tmp_path / "cache"))), where="/data/x.tar.gz", version="one")) as made:
        yield made


@pytest.mark.parametrize("what", ["archive", "snapshot"])
def test_a_run_is_held_to_what_it_began_with(packed: Packed, what: str, tmp_path: Path) -> None:
    """Notes of earlier versions stand under the same name, with the same content."""
    folder = tmp_path / "runs" / "pin"
    assert packed.hold(folder, what) == packed.hold(folder, what) == "/data/x.tar.gz#one"
    assert [(file.name, file.read_text()) for file in folder.iterdir()] == [(what, "one")]
    packed.version = "two"
    for _ in range(2):
        with pytest.raises(PlanChanged, match="was replaced") as caught:
            packed.hold(folder, what)
        assert f"earlier {what} back" in str(caught.value.hint)
    assert (folder / what).read_text() == "one"


def test_a_process_that_dies_leaves_no_half_of_a_note(
    packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dead before the note has its name: the next process begins as if there were none."""

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        packed.hold(tmp_path / "pin", "archive")
    monkeypatch.undo()
    assert not (tmp_path / "pin" / "archive").exists()
    assert packed.hold(tmp_path / "pin", "archive") == "/data/x.tar.gz#one"
