"""The reader of local mode's pickles: faithful to plain data, deaf to everything else."""

from __future__ import annotations

import datetime as dt
import math
import os
import pickle
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client import models

from vecferry.connectors.qdrant.local_mode.pickles import loads
from vecferry.connectors.qdrant.local_mode.points import Sparse, check_vectors, read_id, read_point
from vecferry.errors import CorruptData
from vecferry.model import VectorKind, VectorSpec

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner) | st.tuples(inner, inner)
    ),
    max_leaves=30,
)


@given(PLAIN, st.integers(2, 5))
def test_plain_data_comes_back(value: Any, protocol: int) -> None:
    """Whatever JSON-like value Python pickles under any protocol that a client used, is read as it was."""
    found = loads(pickle.dumps(value, protocol), {})
    assert found == value
    assert repr(found) == repr(value)


@given(st.binary(max_size=300))
def test_noise_is_refused_in_one_way(raw: bytes) -> None:
    """Any bytes either give plain data or raise CorruptData: nothing else escapes, nothing is called."""
    try:
        loads(raw, {})
    except CorruptData:
        return


@given(st.data())
def test_a_torn_point_is_refused(data: st.DataObject) -> None:
    """A point cut at any byte is an error, not a shorter point."""
    raw = stored(models.PointStruct(id=7, vector=[1.0, 2.0, 3.0], payload={"a": "b"}))
    with pytest.raises(CorruptData):
        read_point(raw[: data.draw(st.integers(0, len(raw) - 1))])


def stored(point: models.PointStruct, protocol: int = pickle.DEFAULT_PROTOCOL) -> bytes:
    """A point as the client's persistence pickles it."""
    return pickle.dumps(point, protocol)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_reads_what_the_client_writes(protocol: int) -> None:
    """Unnamed, named, sparse and multi vectors, with a payload of every JSON type."""
    payload = {"a": [1, None, True, 1.5, {"x": "é"}], "big": 2**64 - 1, "nan": math.nan, "": {}}
    vectors: dict[str, Any] = {
        "dense": [0.1, -0.0],
        "multi": [[1.0, 2.0], [3.0, 4.0]],
        "sparse": models.SparseVector(indices=[5, 1], values=[0.5, 1.0]),
    }
    point = read_point(stored(models.PointStruct(id=2**64 - 1, vector=vectors, payload=payload), protocol))
    assert point.id == 2**64 - 1
    assert point.vector == {**vectors, "sparse": Sparse([5, 1], [0.5, 1.0])}
    assert repr(point.payload) == repr(payload)
    plain = read_point(stored(models.PointStruct(id=str(uuid.UUID(int=5)), vector=[1.0], payload=None), protocol))
    assert (plain.id, plain.vector, plain.payload) == (str(uuid.UUID(int=5)), [1.0], {})


def test_reads_the_values_of_old_clients() -> None:
    """Before 1.7 payloads were pickled as given: times, UUIDs and NumPy numbers come as the client shows them."""
    payload = {
        "when": dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC),
        "day": dt.date(2026, 1, 2),
        "who": uuid.UUID(int=5),
        "share": np.float32(1.5),
        "many": (1, 2),
    }
    point = models.PointStruct.model_construct(id=uuid.UUID(int=6), vector=[1.0], payload=payload)
    found = read_point(stored(point))
    assert found.id == str(uuid.UUID(int=6))
    assert found.payload == {
        "when": "2026-01-02T03:04:00Z",
        "day": "2026-01-02",
        "who": str(uuid.UUID(int=5)),
        "share": 1.5,
        "many": [1, 2],
    }


def test_reads_ids_in_every_spelling() -> None:
    """Keys written by different versions and protocols name one point."""
    for key in ("00000000-0000-0000-0000-0000000000AB", "000000000000000000000000000000ab"):
        assert read_id(pickle.dumps(key, 4)) == "00000000-0000-0000-0000-0000000000ab"
    assert read_id(pickle.dumps(12, 5)) == read_id(pickle.dumps(12, 2)) == 12
    for wrong in ("12", -1, 2**64, 1.5, True, None):
        with pytest.raises(CorruptData):
            read_id(pickle.dumps(wrong))


class _Runs:
    """A value whose pickle runs a command."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self._mark}",)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_hostile_pickle_runs_nothing(tmp_path: Path, protocol: int) -> None:
    """The pickle runs its command in Python's own reader, and does not in ours, wherever in a point it hides."""
    proof = tmp_path / "proof"
    pickle.loads(pickle.dumps(_Runs(proof), protocol))
    assert proof.exists(), "the attack itself must work"
    mark = tmp_path / "run"
    hidden = models.PointStruct.model_construct(id=1, vector=[1.0], payload={"a": _Runs(mark)})
    for raw in (pickle.dumps(_Runs(mark), protocol), pickle.dumps(hidden, max(protocol, 2))):
        with pytest.raises(CorruptData):
            read_point(raw)
    assert not mark.exists()


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.",  # STACK_GLOBAL, REDUCE
        b"cos\nsystem\n(S'id'\ntR.",  # GLOBAL, an old string
        b"\x80\x04(cos\nsystem\nX\x02\x00\x00\x00ido.",  # OBJ
        b"(X\x02\x00\x00\x00idios\nsystem\n.",  # INST
        b"\x80\x02\x82\x01.",  # EXT1: a name by number
        b"\x80\x02Pabc\n.",  # PERSID
        b"\x80\x05\x97.",  # NEXT_BUFFER
        b"\x80\x04K\x01)R.",  # calls a number
        b"\x80\x04}}b.",  # sets the state of a dict
    ],
)
def test_opcodes_that_data_never_needs_are_refused(program: bytes) -> None:
    """Every other way in which a pickle makes something happen."""
    with pytest.raises(CorruptData):
        loads(program, {("datetime", "date"): dt.date})


def test_a_small_pickle_cannot_fill_the_memory() -> None:
    """A memo index of two billion, text of four gigabytes, and lists that double thirty times: refused, in 200 MB."""
    code = """
import resource, pickle
from vecferry.connectors.qdrant.local_mode.points import read_point
from vecferry.errors import CorruptData
from qdrant_client import models
resource.setrlimit(resource.RLIMIT_DATA, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + (200 << 20),) * 2)
value = ["x"]
for _ in range(30):
    value = [value, value]
laughs = pickle.dumps(models.PointStruct.model_construct(id=1, vector=[1.0], payload={"a": value}))
selfish = []; selfish.append(selfish)
round_ = pickle.dumps(models.PointStruct.model_construct(id=1, vector=[1.0], payload={"a": selfish}))
for raw in (b"\\x80\\x04Nr\\xff\\xff\\xff\\x7f.", b"\\x80\\x04X\\xff\\xff\\xff\\xffab.", laughs, round_):
    try:
        read_point(raw)
    except CorruptData as error:
        print("refused")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["refused"] * 4), done.stderr


@pytest.mark.parametrize(
    "vector, why",
    [
        ({"other": [1.0, 2.0]}, "other"),
        ({"dense": [1.0]}, "2 dimensions"),
        ({"dense": [[1.0, 2.0]]}, "dimensions"),
        ({"dense": models.SparseVector(indices=[1], values=[1.0])}, "kind"),
        ({"multi": [1.0, 2.0]}, "dimensions"),
        ({"sparse": [1.0]}, "kind"),
    ],
)
def test_vectors_that_do_not_fit_are_named(vector: Any, why: str) -> None:
    """A point whose vectors are not those of its collection is refused with the reason."""
    specs = (
        VectorSpec(name="dense", dim=2),
        VectorSpec(name="multi", dim=2, kind=VectorKind.MULTI),
        VectorSpec(name="sparse", kind=VectorKind.SPARSE),
    )
    point = read_point(stored(models.PointStruct.model_construct(id=1, vector=vector, payload={})))
    with pytest.raises(CorruptData, match=why):
        check_vectors(point, specs)
