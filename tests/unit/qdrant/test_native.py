"""What is written in C does what the Python beside it does, or leaves it to that; whatever bytes it is given."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hatch_build
from vecferry.connectors.qdrant._codec import columns, grpc_read, norms, restore, values
from vecferry.connectors.qdrant._codec.form import Form
from vecferry.connectors.qdrant._codec.native import native
from vecferry.connectors.qdrant._codec.values import PAYLOAD_ENTRY, STRUCT_ENTRY, EntryReader, Unsayable, entries, entry
from vecferry.connectors.qdrant._codec.wire import field
from vecferry.errors import CorruptData, VecferryError
from vecferry.model import Card, CollectionSpec, Element, IdKind, Keep, Metric, VectorSpec
from vecferry.tags import canonical
from vecferry.testing.skips import skip

if native is None:
    assert not hatch_build.linker(), "a compiler is here and the module is not: `python hatch_build.py` says why"
    skip("compiler")


def test_what_is_tested_was_made_of_this_source() -> None:
    assert native.__doc__ == f"Made of {hatch_build.digest()}", "run `python hatch_build.py`"


TEXTS = st.text(max_size=40) | st.sampled_from(["", "\0", '"\\/\b\f\n\r\t\x1f\x7f', "é€😀", "x" * 200, "\u2028"])
NUMBERS = (
    st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([-0.0, 1e15, 1e16, 999999999999999.0, 1e-7, 5e-324, 2.0**63, 10**17, 10**18, -(10**18), 0, -1])
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=20),
    max_leaves=20,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=20)


def slow_entries(number: int, text: bytes, depth: int) -> bytes | None:
    try:
        return entries(number, orjson.loads(text), depth)
    except Unsayable:
        return None


@given(OBJECTS, st.sampled_from([PAYLOAD_ENTRY, STRUCT_ENTRY]), st.sampled_from([0, 1, 23]))
def test_objects_become_the_same_entries(value: dict[str, Any], number: int, depth: int) -> None:
    text = canonical(value)
    (found,), odd = native.entries(number, [text], depth)
    assert odd in ([], [0])
    if not odd:
        assert found == slow_entries(number, text, depth)


@pytest.mark.parametrize("value", [{}, {"a": 1}, {"ä": ["x", {"b": [1.5, None, True]}]}, {"t": "x" * 20_000}])
def test_ordinary_objects_are_not_left_to_python(value: dict[str, Any]) -> None:
    assert native.entries(PAYLOAD_ENTRY, [canonical(value), None], 0) == ([entries(PAYLOAD_ENTRY, value), None], [])


ODD = rb"""
{ | [] | {"a"} | {"a":} | {"a":1,} | {"a":1}x | {"a": 1} | {"a":01} | {"a":-0} | {"a":1e999} | {"a":tru} | {"a":--1}
{"a":+1.0} | {"a":.5} | {"a":1.} | {"a":01.5} | {"a":1.e5} | {"a":-.5} | {"a":1e} | {"a":1e+} | {"a":-}
{"a":+1} | {"a":1234567890123456789} | {"a":"\u00e9"} | {"a":"\ | {"a":"b | {"a":"\x"} | {"a":"\u00"} | nul
""".replace(b"\n", b" | ").split(b" | ")[1:-1]


@pytest.mark.parametrize(
    "text", [*ODD, b"", b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}', b'{"a":' + b"[" * 30 + b"]" * 30 + b"}"]
)
def test_what_is_odd_is_left_to_python(text: bytes) -> None:
    assert native.entries(PAYLOAD_ENTRY, [text], 0) == ([None], [0])


def test_python_takes_over_row_by_row() -> None:
    texts = [b'{"a":1}', b'{"a":1234567890123456789}', None]
    assert values.all_entries(PAYLOAD_ENTRY, texts, 0) == [
        entries(PAYLOAD_ENTRY, {"a": 1}),
        entries(PAYLOAD_ENTRY, {"a": 1234567890123456789}),
        None,
    ]
    with pytest.raises(Unsayable):
        values.all_entries(PAYLOAD_ENTRY, [b'{"a":18446744073709551615}'], 0)


# --------------------------------------------------------------------------- reading


ONE = (VectorSpec(dim=2, metric=Metric.COSINE),)
SEVERAL = (
    VectorSpec(name="a", dim=2, metric=Metric.COSINE),
    VectorSpec(name="b", dim=2, metric=Metric.COSINE, element=Element.FLOAT16),
    VectorSpec(name="c", dim=2, metric=Metric.L2, element=Element.UINT8),
)


def form(layout: str, *, ours: bool = True, vectors: tuple[VectorSpec, ...] = ONE, keep: Keep = Keep.RESTORE) -> Form:
    card = Card(id_kind=IdKind.TEXT, vectors=vectors, layout=layout, exact_vectors=keep) if ours else None
    kind = IdKind.TEXT if ours else IdKind.INT
    return Form(CollectionSpec(name="c", id_kind=kind, vectors=vectors, card=card), foreign_layout=layout)


FORMS = {
    "plain": form("plain"),
    "flat": form("flat"),
    "langchain": form("langchain"),
    "synaplan": form("synaplan"),
    "mem0": form("mem0"),
    "openwebui": form("openwebui"),
    "foreign": form("flat", ours=False),
    "foreign plain": form("plain", ours=False),
    "foreign synaplan": form("synaplan", ours=False),
    "several": form("plain", vectors=SEVERAL),
    "several foreign": form("flat", ours=False, vectors=SEVERAL),
    "bits": form("plain", keep=Keep.BITS),
    "bits of several": form("flat", vectors=SEVERAL, keep=Keep.BITS),
    "without vectors": form("plain", vectors=()),
}
NOTES = st.fixed_dictionaries(
    {},
    optional={
        "seq": st.integers(0, 2**62) | st.none() | st.just("x"),
        "n": st.floats(1e-3, 9e3) | st.sampled_from(["1e+20", 2, [2.5], {"a": 2.5, "b": "1e-20"}]),
        "id": TEXTS,
        "t": st.just({"/a": "datetime"}) | st.just({}),
        "k": st.just({"document": 1}),
        "null": st.just(["document"]),
        "v": st.just({"": "AACAPwAAAAA=", "b": "ADwAAA=="}),
    },
)
PAYLOADS = st.fixed_dictionaries(
    {},
    optional={
        "document": TEXTS | st.none() | st.just(1),
        "page_content": TEXTS,
        "text": TEXTS,
        "uri": TEXTS,
        "_point_id": TEXTS,
        "metadata": OBJECTS | st.just([]),
        "more": VALUES,
        "_vf": NOTES | st.just(1),
    },
)
VECTORS = st.sampled_from(
    [
        b"".join(b"\x0d" + struct.pack("<f", x) for x in (0.6, 0.8)),
        field(1, struct.pack("<ff", 1, 0)),
        field(101, field(1, struct.pack("<ff", 0, 1))),
        field(1, struct.pack("<f", 1)),
    ]
)
POINT_IDS = st.sampled_from([field(2, b"6ba7b810-9dad-11d1-80b4-00c04fd430c8"), b"\x08\x07", b"\x08\xff\xff\x03", b""])


def point(point_id: bytes, payload: dict[str, Any], vectors: bytes, result: int = 2) -> bytes:
    whole = b"".join(entry(2, key, value) for key, value in payload.items())
    return field(result, field(1, point_id) + whole + vectors)


def unnamed(vector: bytes | None) -> bytes:
    return b"" if vector is None else field(4, field(1, vector))


def vectors_of(made: Form) -> st.SearchStrategy[bytes]:
    names = [vector.name for vector in made.read_vectors]
    if names == [""]:
        return (st.none() | VECTORS).map(unnamed)
    pairs = st.lists(st.tuples(st.sampled_from(names or ["a"]), VECTORS), max_size=4)
    entries = pairs.map(lambda them: [field(1, field(1, name.encode()) + field(2, body)) for name, body in them])
    return entries.map(lambda them: field(4, field(2, b"".join(them))))


@st.composite
def answers(draw: st.DrawFn, made: Form) -> bytes:
    def sayable(payload: dict[str, Any]) -> bool:
        try:
            point(b"", payload, b"")
        except Unsayable:
            return False
        return True

    points = draw(st.lists(st.tuples(POINT_IDS, PAYLOADS.filter(sayable), vectors_of(made)), max_size=3))
    return b"\x0a\x02\x08\x01" + b"".join(point(*one) for one in points) + b"\x19" + bytes(8)


CASES = st.sampled_from(sorted(FORMS)).flatmap(lambda name: st.tuples(st.just(name), answers(FORMS[name])))


def by_python(made: Form, data: bytes, result: int) -> Any:
    page = grpc_read.page(data, EntryReader(), result=result)
    cells = {v.name: grpc_read.cells(page.data, page.spans, v) for v in made.read_vectors}
    return restore.batch(made, page.ids, page.payloads, cells)


def compare(made: Form, data: bytes, result: int = 2) -> bool:
    """False where C left it to Python; else both are seen to be the same, errors too."""
    reader = columns.Reader(made)
    short = reader.read(data, 0, rows=len(data), result=result)
    if short is None:
        return False
    try:
        expected = by_python(made, data, result)
    except CorruptData:
        with pytest.raises(CorruptData):
            reader.batch(short[1])
        return True
    assert reader.batch(short[1]).equals(expected)
    return True


@settings(max_examples=150)
@given(CASES)
def test_points_become_the_same_batch(case: tuple[str, bytes]) -> None:
    name, data = case
    compare(FORMS[name], data)


@pytest.mark.parametrize(
    "name, payload",
    [
        ("plain", {"document": "d", "uri": "u", "metadata": {"b": [1, 2.5], "a": {"c": None}}, "_vf": {"seq": 3}}),
        ("plain", {"_vf": {"id": "x", "n": 2.5}}),
        ("flat", {"document": "d", "b": True, "a": -1, "_vf": {"t": {"/a": "int"}}}),
        ("langchain", {"page_content": "d", "metadata": {}}),
        ("synaplan", {"_point_id": "doc_1", "text": "d", "user": 7}),
        ("foreign", {"x": 1, "_vf": 1}),
    ],
)
def test_ordinary_points_are_not_left_to_python(name: str, payload: dict[str, Any]) -> None:
    vector = b"".join(b"\x0d" + struct.pack("<f", x) for x in (0.6, 0.8))
    for result in (1, 2):
        assert compare(FORMS[name], point(b"\x08\x07", payload, unnamed(vector), result) * 3, result)


@settings(max_examples=150)
@given(CASES, st.data())
def test_damaged_answers_are_refused_or_become_sound_batches(case: tuple[str, bytes], draw: st.DataObject) -> None:
    name, data = case
    damaged = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 3))):
        damaged[draw.draw(st.integers(0, len(damaged) - 1))] = draw.draw(st.integers(0, 255))
    cut = bytes(damaged[: draw.draw(st.integers(0, len(damaged)))])
    reader = columns.Reader(FORMS[name])
    for torn in (bytes(damaged), cut):
        short = reader.read(torn, 0, rows=10)
        if short is not None:
            try:
                reader.batch(short[1]).validate(full=True)
            except VecferryError:
                continue


def test_parts_follow_one_another() -> None:
    made, reader = FORMS["foreign"], columns.Reader(FORMS["foreign"])
    data = b"".join(point(b"\x08" + bytes([number]), {"n": number}, b"") for number in range(1, 8))
    at, ids = 0, []
    while at < len(data):
        found = reader.read(data, at, rows=3)
        assert found is not None
        at, page = found
        ids += page.ids
    assert ids == list("1234567")
    assert made.spec.name == "c"


@pytest.mark.parametrize("more", [b"\x02", b"\x7f"])
def test_a_number_past_64_bits_is_left_to_python(more: bytes) -> None:
    reader, ones = columns.Reader(FORMS["foreign"]), b"\xff" * 9
    assert reader.read(point(b"\x08" + ones + b"\x01", {}, b""), 0, rows=1) is not None
    assert reader.read(point(b"\x08" + ones + more, {}, b""), 0, rows=1) is None


@pytest.mark.parametrize("dim", [0, -5, 1 << 40, 1 << 62])
def test_a_length_that_no_vector_has_is_refused(dim: int) -> None:
    keys = ("document", "uri", None, None, None)
    with pytest.raises(ValueError, match="no vector is that long"):
        native.points(point(b"", {}, b""), 0, 2, 1, keys, (("", dim),), orjson.dumps)


# --------------------------------------------------------------------------- lengths


@pytest.mark.parametrize("dim", [0, 1, 2, 3, 31, 32, 33, 100, 768, 1537])
def test_lengths_have_the_same_bits(dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(dim)
    given = random.standard_normal((60, dim)).astype(np.float32)
    given[:20] *= np.float32(10.0) ** random.integers(-30, 30, (20, 1)).astype(np.float32)
    given[20:30] = 0
    found = both(given)
    monkeypatch.setattr(norms, "native", None)
    assert found == both(given)


def both(given: Any) -> list[bytes]:
    scaled, lengths = norms.scale(given)
    return [part.tobytes() for part in (scaled, lengths, norms.unscale(scaled, lengths, np.dtype(np.float32)))]


def test_arrays_that_do_not_fit_are_refused() -> None:
    values, lengths = np.zeros((3, 2), np.float32), np.zeros(4)
    for dim in (2, -1, 1 << 62):
        with pytest.raises(ValueError, match="other sizes"):
            native.squares(values, dim, lengths)
    with pytest.raises(ValueError, match="other sizes"):
        native.squares(np.zeros(0, np.float32), 1 << 62, lengths)
    with pytest.raises(ValueError, match="other sizes"):
        native.scaled(values, 2, np.zeros(3), np.zeros((3, 3), np.float32), False)
