"""Where results are to go is looked at before anything is read."""

from __future__ import annotations

import pytest

from vecferry.errors import ConfigError
from vecferry.migration import Settings, migrate
from vecferry.migration.stores import check_folder


def test_a_folder_that_can_be_made_or_used_is_fine(tmp_path):
    check_folder(None, "--report")
    check_folder(tmp_path, "--report")
    check_folder(tmp_path / "a" / "b", "--report")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("option", ["reports", "backup"])
def test_a_place_below_a_file_is_refused_before_a_store_is_opened(tmp_path, option):
    """The stores do not exist: had one been opened, the message would be about it."""
    file = tmp_path / "file"
    file.touch()
    settings = Settings(ledger=str(tmp_path / "ledger.db"), **{option: file / "below"})
    with pytest.raises(ConfigError, match="cannot be a folder"):
        migrate("chroma:/nowhere", "qdrant+http://127.0.0.1:1", settings=settings)
    assert not (tmp_path / "ledger.db").exists()
