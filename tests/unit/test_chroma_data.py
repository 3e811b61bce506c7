"""The committed Chroma directories are what they claim to be: without that, the reader's tests prove nothing."""

from __future__ import annotations

import sqlite3
import struct

import numpy as np
import pytest

from tests.chroma_data import COMMITTED, NAMES

WRITTEN_BY = {name: name.rpartition("-to-")[2] for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_the_truth_is_whole(chroma_data, name):
    """get() of the old version returned exactly what it had been given, so the truth is no invention of ours."""
    truth = chroma_data(name).truth
    assert truth["chroma"] == WRITTEN_BY[name]
    for entry in truth["collections"]:
        assert (entry["missing_from_get"], entry["differs_from_given"]) == ([], []), entry["name"]
        assert entry["count"] == len(entry["records"])


@pytest.mark.parametrize("name", NAMES)
def test_every_story_is_there(chroma_data, name):
    """Spaces, empty collections, several tenants and databases, and types that a reader could confuse."""
    data = chroma_data(name)
    assert {one.space for one in data.collections} == {"l2", "cosine", "ip"}
    assert {(one.tenant, one.database) for one in data.collections if one.name == "shared"} == {
        ("default_tenant", "second"),
        ("acme", "prod"),
        ("acme", "test"),
    }
    assert not data.collection("never_written").records
    assert not data.collection("emptied").records
    metadata = next(r for r in data.collection("types").records if r.id == "all").metadata
    assert metadata["past_double"] == 2**53 + 1
    assert isinstance(metadata["whole_float"], float)
    assert metadata["true"] is True
    assert metadata["nul"] == "a\x00b"
    assert "ключ" in metadata


def test_lists_stand_in_the_current_version_only(chroma_data):
    """Order and repetition of list metadata are kept."""
    records = {record.id: record for record in chroma_data("1.5.9").collection("types").records}
    assert records["lists"].metadata["texts"] == ["b", "a", "b", ""]
    assert "lists" not in {record.id for record in chroma_data("0.6.3").collection("types").records}


@pytest.mark.parametrize("name", NAMES)
def test_the_log_holds_what_the_stories_say(chroma_copy, name):
    """`wal_only` has no index files, `tail_l2` has both index files and a tail in the log."""
    data = chroma_copy(name)
    with sqlite3.connect(data.path / "chroma.sqlite3") as db:
        rows = db.execute(
            "select c.name, s.id, (select count(*) from embeddings_queue q where q.topic like '%' || c.id)"
            " from collections c join segments s on s.collection = c.id and s.scope = 'VECTOR'"
        ).fetchall()
    pickled = {name for name, segment, _ in rows if (data.path / segment / "index_metadata.pickle").exists()}
    logged = {name: count for name, _, count in rows}
    assert "wal_only" not in pickled
    assert logged["wal_only"] > 0
    assert {"synced_l2", "synced_cosine", "synced_ip", "tail_l2", "tail_cosine", "tail_ip", "churn"} <= pickled
    assert logged["tail_l2"] > 0


def test_vectors_differ_from_the_given_ones_under_cosine_only(chroma_data):
    """And there by rounding alone."""
    for name in NAMES:
        for one in chroma_data(name).collections:
            for record in one.records:
                if one.space == "cosine":
                    np.testing.assert_allclose(record.vector, record.given_vector, rtol=1e-6)
                else:
                    assert record.vector.tobytes() == record.given_vector.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_the_machine_that_made_them_is_inside(chroma_data, name):
    """Old versions save uninitialised memory behind the last record; in ours that part is zero."""
    for header in chroma_data(name).path.glob("*/header.bin"):
        _, _, _, count, size, *_ = struct.unpack("<iQQQQQQiIQQQdQ", header.read_bytes())
        assert not any(header.with_name("data_level0.bin").read_bytes()[count * size :])


def test_they_stay_small():
    """Everybody clones them."""
    assert sum(path.stat().st_size for path in COMMITTED.iterdir()) < 5_000_000
