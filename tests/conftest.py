"""What every test may rely on: no settings of the developer's own machine, and Hypothesis with a known budget."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import hypothesis
import pytest

from tests.chroma_data import ChromaData, unpack

# Asked for by name in CI (HYPOTHESIS_PROFILE=ci) and for long hunts; the default suits a person who waits.
hypothesis.settings.register_profile("default", max_examples=50, deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", max_examples=100, deadline=None, print_blob=True, derandomize=True)
hypothesis.settings.register_profile("hunt", max_examples=5000, deadline=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

_STEERING = ("QDRANT_", "CHROMA_", "VECFERRY_", "AWS_", "R2_", "GOOGLE_", "PG", "MYSQL_", "MARIADB_", "SUPABASE_")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Neither the stores of the user's environment nor the user's ledger play a part in a test."""
    for name in list(os.environ):
        if name.startswith(_STEERING) and not name.startswith("VECFERRY_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.getbasetemp() / "data"))
    monkeypatch.setenv("VECFERRY_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("ANONYMIZED_TELEMETRY", "False")


@pytest.fixture(scope="session")
def chroma_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ChromaData]:
    """Unpacks a Chroma directory by its name in `chroma_data.NAMES`, once per session: only for reading."""
    return cache(lambda name: unpack(name, tmp_path_factory.mktemp(f"chroma-{name}")))


@pytest.fixture
def chroma_copy(tmp_path: Path) -> Callable[[str], ChromaData]:
    """Unpacks a Chroma directory for one test, which may change it."""
    return lambda name: unpack(name, tmp_path / f"chroma-{name}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what reads the Chroma directories, so that `./dev fixtures` can run it on new ones."""
    for item in items:
        if {"chroma_data", "chroma_copy"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("chroma_directories")
