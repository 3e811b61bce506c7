"""The id map's parser: equal to pickle on what Chroma writes, a refusal on everything else, and never an execution."""

import contextlib
import os
import pickle
import sys
import tracemalloc
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vecferry.connectors.chroma.pickle_map import parse
from vecferry.errors import CorruptData

MODULE = "chromadb.segment.impl.vector.local_persistent_hnsw"


@pytest.fixture
def persistent_data(monkeypatch: pytest.MonkeyPatch) -> type:
    """The class that 0.4 to 0.6 pickled, under its own name, so that pickle will write it."""
    module = types.ModuleType(MODULE)
    kind = type("PersistentData", (), {"__module__": MODULE})
    module.PersistentData = kind  # type: ignore[attr-defined]
    parts = MODULE.split(".")
    for end in range(1, len(parts)):
        monkeypatch.setitem(sys.modules, ".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
    monkeypatch.setitem(sys.modules, MODULE, module)
    return kind


def state(labels: dict[str, int], last: int | None = None) -> dict[str, Any]:
    return {
        "dimensionality": None,
        "total_elements_added": len(labels),
        "max_seq_id": last,
        "id_to_label": labels,
        "label_to_id": {label: text for text, label in labels.items()},
        "id_to_seq_id": dict.fromkeys(labels, 10**12),
    }


def old_form(kind: type, labels: dict[str, int], last: int | None) -> bytes:
    made = kind()
    made.__dict__.update(state(labels, last))
    return pickle.dumps(made, 5)


def number(value: int) -> bytes:
    return b"J" + value.to_bytes(4, "little", signed=True)


def text(value: str) -> bytes:
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def new_form(labels: dict[str, int], last: int | None = None) -> bytes:
    """As Rust's serde_pickle writes it: protocol 3, no memo, four-byte lengths, one MARK per dict."""
    both = [(text(name), number(label)) for name, label in labels.items()]
    fields = [
        (text("dimensionality"), b"N"),
        (text("total_elements_added"), number(len(labels))),
        (text("max_seq_id"), b"N" if last is None else number(last)),
        (text("id_to_label"), b"}" + (b"(" + b"".join(name + label for name, label in both) + b"u" if both else b"")),
        (text("label_to_id"), b"}" + (b"(" + b"".join(label + name for name, label in both) + b"u" if both else b"")),
        (text("id_to_seq_id"), b"}"),
    ]
    return b"\x80\x03}(" + b"".join(name + value for name, value in fields) + b"u."


def read(raw: bytes, folder: Path) -> tuple[dict[str, int], int | None]:
    path = folder / "index_metadata.pickle"
    path.write_bytes(raw)
    found: dict[str, int] = {}
    facts = parse(path, lambda ids, labels: found.update(zip(ids, labels, strict=True)))
    assert facts.ids == len(found)
    return found, facts.max_seq_id


IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=st.dictionaries(IDS, st.integers(1, 2**31 - 1), max_size=30), last=st.none() | st.integers(1, 2**31 - 1))
def test_reads_both_forms(labels: dict[str, int], last: int | None, tmp_path: Path, persistent_data: type) -> None:
    """What pickle and serde_pickle write of any map is read back as it was."""
    assert pickle.loads(new_form(labels, last))["id_to_label"] == labels
    assert read(new_form(labels, last), tmp_path) == (labels, last)
    assert read(old_form(persistent_data, labels, last), tmp_path) == (labels, last)


@pytest.mark.parametrize("count", [0, 1, 2, 999, 1000, 1001, 2001, 30_000])
def test_reads_any_number_of_ids(count: int, tmp_path: Path, persistent_data: type) -> None:
    """Pickle writes dicts in blocks of a thousand, and one entry alone in a way of its own."""
    labels = {f"id-{number}" + "é" * (number % 3): number + 1 for number in range(count)}
    assert read(new_form(labels), tmp_path)[0] == labels
    assert read(old_form(persistent_data, labels, 7), tmp_path) == (labels, 7)


def test_long_ids_cross_every_border_of_the_buffer(tmp_path: Path, persistent_data: type) -> None:
    """Ids longer than what is kept in memory at once."""
    labels = {"x" * size + str(size): size + 1 for size in (0, 255, 256, 65_000, 65_536, 70_000, 1_100_000)}
    assert read(new_form(labels), tmp_path)[0] == labels
    assert read(old_form(persistent_data, labels, None), tmp_path)[0] == labels


class Hostile:
    """Unpickled, it makes a folder."""

    def __init__(self, where: Path) -> None:
        self.where = where

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.where),)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_hostile_pickle_does_not_run(protocol: int, tmp_path: Path) -> None:
    """Neither at the top nor within the map; pickle itself would have run it."""
    trap = tmp_path / "sprung"
    for thing in (
        Hostile(trap),
        {**state({"a": 1}), "id_to_label": Hostile(trap)},
        {"id_to_label": {"a": Hostile(trap)}},
    ):
        with pytest.raises(CorruptData, match="nothing in it was executed"):
            read(pickle.dumps(thing, protocol), tmp_path)
        assert not trap.exists()
    pickle.loads(pickle.dumps(Hostile(trap), protocol))
    assert trap.exists()


@pytest.mark.parametrize("name", [("os", "system"), (MODULE, "PersistentDataX"), ("builtins", "eval")])
def test_only_one_class_is_accepted(name: tuple[str, str], tmp_path: Path) -> None:
    """Another class in the right place is refused by name."""
    raw = b"\x80\x03c" + "\n".join(name).encode() + b"\n)\x81}(" + new_form({"a": 1})[4:-1] + b"b."
    with pytest.raises(CorruptData, match=name[1]):
        read(raw, tmp_path)


def test_every_truncation_is_seen(tmp_path: Path, persistent_data: type) -> None:
    """A file that was being written: cut anywhere, it is an error and never a shorter map."""
    for raw in (new_form({"a": 1, "b": 300, "c": 70_000}), old_form(persistent_data, {"a": 1, "b": 300}, 5)):
        for end in range(len(raw)):
            with pytest.raises(CorruptData):
                read(raw[:end], tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(data=st.data())
def test_noise_is_an_error_or_a_map(data: st.DataObject, tmp_path: Path) -> None:
    """Bytes changed at random end in CorruptData or in some map, never in another exception."""
    raw = bytearray(new_form({"a": 1, "bb": 300, "ccc": 70_000}))
    for at in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=4)):
        raw[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CorruptData):
        assert isinstance(read(bytes(raw), tmp_path)[0], dict)


def test_memory_does_not_grow_with_the_map(tmp_path: Path) -> None:
    """Three times the ids need no more memory: they are handed on, not kept."""
    peaks = []
    for count in (40_000, 120_000):
        path = tmp_path / "index_metadata.pickle"
        path.write_bytes(new_form({f"document-{number:09}": number + 1 for number in range(count)}))
        tracemalloc.start()
        parse(path, lambda _ids, _labels: None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.2 < 20e6
