"""The compiled module is made of the source that stands beside it, or is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

import hatch_build
from vecferry.testing.skips import skip

if not hatch_build.linker():
    skip("compiler")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "sources").mkdir()
    monkeypatch.setattr(hatch_build, "SOURCES", tmp_path / "sources")
    monkeypatch.setattr(hatch_build, "BUILT", tmp_path / "built.so")
    return tmp_path / "sources" / "one.c"


GOOD = "const char made_of[] = MADE_OF;\nint answer(void) {{ return {}; }}\n"


def test_it_is_made_once_for_each_source(source: Path) -> None:
    source.write_text(GOOD.format(1))
    assert hatch_build.build()
    first = hatch_build.BUILT.stat()
    assert hatch_build.build()
    assert hatch_build.BUILT.stat().st_ino == first.st_ino
    source.write_text(GOOD.format(2))
    assert hatch_build.build()
    assert hatch_build.BUILT.stat().st_ino != first.st_ino


@pytest.mark.parametrize("broken", [True, False])
def test_what_was_made_of_another_source_does_not_stay(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], broken: bool
) -> None:
    source.write_text(GOOD.format(1))
    assert hatch_build.build()
    source.write_text("no C" if broken else GOOD.format(2))
    if not broken:
        monkeypatch.setattr(hatch_build, "linker", list)
    assert not hatch_build.build()
    assert not hatch_build.BUILT.exists()
    assert "without its compiled part" in capsys.readouterr().err
