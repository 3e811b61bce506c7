"""The direct reader against Chroma itself: whatever was done to a collection, both see the same records."""

import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chroma_data import NAMES, ChromaData
from tests.integration.chroma_process import ChromaProcess, pack, vector_of
from vecferry.arrow import to_records, validate
from vecferry.model import Record
from vecferry.registry import open_database
from vecferry.testing.skips import reason

if find_spec("chromadb") is None:  # not imported: a process with chromadb in it reads by way of a child
    pytest.skip(reason("chromadb"), allow_module_level=True)


@pytest.fixture(scope="module")
def chroma() -> Iterator[ChromaProcess]:
    process = ChromaProcess()
    yield process
    process.close()


def read(path: Path, name: str = "records") -> list[Record]:
    """Every record of a collection, in the order of `seq`."""
    database = open_database(f"chroma:{path}")
    try:
        source = database.source(name)
        records: list[Record] = []
        for partition in source.partitions():
            for chunk in source.read(partition):
                assert not chunk.rejected
                validate(chunk.batch, source.describe())
                records += to_records(chunk.batch, source.describe())
        assert len(records) == source.describe().count
        return sorted(records, key=lambda record: record.seq or 0)
    finally:
        database.close()


def assert_equal(found: list[Record], truth: list[dict[str, Any]], *, cosine: bool = False) -> None:
    """The same records, in the same order, bit for bit and type for type."""
    assert [record.id for record in found] == [record["id"] for record in truth]
    for ours, theirs in zip(found, truth, strict=True):
        vector = vector_of(ours)
        assert isinstance(vector, np.ndarray)
        if cosine:  # what the log still holds we read as it was given; Chroma answers length x direction, rounded
            np.testing.assert_allclose(vector, theirs["vector"], rtol=1e-5, atol=1e-6 * np.abs(vector).max())
        else:
            assert vector.tobytes() == theirs["vector"].tobytes(), ours.id
        assert (ours.document, ours.uri) == (theirs["document"], theirs["uri"])
        assert repr(sorted((ours.metadata or {}).items())) == repr(sorted((theirs["metadata"] or {}).items())), ours.id


DIM = 3
IDS = st.sampled_from(["a", "b", "c", "d", "../x", "日本 🛳️", "n\0ul", "x" * 1000])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
REALS = st.floats(allow_nan=False, allow_infinity=False).map(lambda x: x + 0.0)
SCALARS = TEXT | st.integers(-(2**63), 2**63 - 1) | REALS | st.booleans()
LISTS = st.one_of(
    *(st.lists(kind, min_size=1, max_size=3) for kind in (TEXT, st.integers(-(2**63), 2**63 - 1), REALS, st.booleans()))
)
KEYS = st.sampled_from(["k", "l", 'q"uote', "ä", "_vf", "a.b", "zz", "\x1f", "\x7f"])
METADATA = st.dictionaries(KEYS, SCALARS | LISTS, min_size=1, max_size=4)
CHANGES = st.dictionaries(KEYS, SCALARS | LISTS | st.none(), min_size=1, max_size=4)
VECTORS = st.lists(st.floats(-100, 100, width=32), min_size=DIM, max_size=DIM).map(pack)


@st.composite
def operation(draw: st.DrawFn) -> dict[str, Any]:
    """One call of the client, with some of its columns."""
    what = draw(st.sampled_from(["add", "add", "update", "upsert", "delete"]))
    ids = draw(st.lists(IDS, min_size=1, max_size=4, unique=True))
    if what == "delete":
        return {"do": what, "ids": ids}
    call: dict[str, Any] = {"do": what, "ids": ids}
    many: dict[str, Any] = {"min_size": len(ids), "max_size": len(ids)}
    if what != "update" or draw(st.booleans()):
        call["embeddings"] = draw(st.lists(VECTORS, **many))
    if draw(st.booleans()):
        call["metadatas"] = draw(st.lists(METADATA if what == "add" else CHANGES, **many))
    if len(call) == 2:
        call["metadatas"] = draw(st.lists(CHANGES, **many))
    if "embeddings" in call and draw(st.booleans()):  # without one the client would want to compute it
        call["documents"] = draw(st.lists(TEXT, **many))
    return call


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    operations=st.lists(operation(), min_size=1, max_size=14),
    space=st.sampled_from(["l2", "cosine", "ip"]),
    sync=st.sampled_from([3, 7, 1000]),
)
def test_reads_what_chroma_returns(
    chroma: ChromaProcess, operations: list[dict[str, Any]], space: str, sync: int
) -> None:
    """Any sequence of operations, any metric, index saved often or never: equal to `collection.get`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chroma"
        configuration = {"hnsw": {"space": space, "sync_threshold": sync, "batch_size": 2}}
        chroma.apply(path, operations, configuration=configuration)
        found = read(path)
        assert_equal(found, chroma.dump(path), cosine=space == "cosine")


@pytest.mark.parametrize("name", NAMES)
def test_reads_directories_of_every_version(name: str, chroma_data: Callable[[str], ChromaData]) -> None:
    """Directories that real versions wrote, against what their own `get` returned: nothing lost, nothing rounded.

    Vectors under cosine: where the log still holds what was given, that is what we read, bit for bit; where only the
    index is left, what Chroma itself answers. `get` of 0.4 orders by id, so there the order is not compared.
    """
    data = chroma_data(name)
    database = open_database(f"chroma:{data.path}")
    assert len(list(database.collections())) == len(data.collections)
    for collection in data.collections:
        source = database.source(f"{collection.tenant}/{collection.database}/{collection.name}")
        spec = source.describe()
        assert (spec.uid, spec.count) == (collection.id, len(collection.records))
        assert (spec.vectors[0].metric.value, spec.vectors[0].dim) == (collection.space, collection.dimension)
        assert (dict(spec.metadata) or None) == collection.metadata
        found = [r for p in source.partitions() for chunk in source.read(p) for r in to_records(chunk.batch, spec)]
        wanted = collection.records
        if name == "0.4.24":
            found, wanted = sorted(found, key=lambda r: r.id), sorted(wanted, key=lambda r: r.id)
        assert [record.id for record in found] == [record.id for record in wanted]
        for ours, theirs in zip(found, wanted, strict=True):
            vector = vector_of(ours)
            assert isinstance(vector, np.ndarray)
            assert vector.tobytes() in (theirs.vector.tobytes(), theirs.given_vector.tobytes()), ours.id
            assert (ours.document, ours.uri) == (theirs.document, theirs.uri)
            assert repr(sorted((ours.metadata or {}).items())) == repr(sorted((theirs.metadata or {}).items()))
    database.close()
