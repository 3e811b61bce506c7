"""Pure parts of the Chroma connector: the envelope, the metric's truth, values as they stand in the files."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecferry.connectors.chroma import _codec
from vecferry.model import IdKind
from vecferry.tags import pack

KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["", "_vf", "chroma:document", "chroma:uri", "#a", "$b", "m", "t"]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
    | st.datetimes()
    | st.binary(max_size=4)
    | st.decimals(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(metadata=st.none() | st.dictionaries(KEYS, VALUES, max_size=5), kind=st.none() | st.sampled_from(IdKind))
def test_an_envelope_is_undone_exactly(metadata: dict[str, Any] | None, kind: IdKind | None) -> None:
    """Whatever metadata holds, Chroma can hold its wrapped form, and unwrapping gives back the same bytes."""
    text, tags = pack(metadata) if metadata is not None else (None, None)
    wrapped = _codec.wrap(text, tags, kind)
    assert wrapped is None or all(key and (key == "_vf" or _codec.plain(key, item)) for key, item in wrapped.items())
    stored = None if wrapped is None else pack(wrapped)[0]
    assert _codec.unwrap(stored) == (text, tags, kind.value if kind else None, None)


def test_what_chroma_can_hold_stands_beside_the_envelope() -> None:
    """Filters on ordinary keys keep working; without need there is no envelope at all."""
    assert _codec.wrap(pack({"a": 1, "l": ["x"]})[0]) == {"a": 1, "l": ["x"]}
    wrapped = _codec.wrap(pack({"a": 1, "deep": {"b": None}})[0])
    assert wrapped == {"a": 1, "_vf": '{"m":{"deep":{"b":null}}}'}
    assert _codec.wrap(None) is None


@pytest.mark.parametrize(
    "schema, config, metadata, space",
    [
        (None, None, {}, "l2"),
        (None, '{"hnsw_configuration": {"space": "l2", "M": 16}}', {"hnsw:space": "cosine"}, "cosine"),
        (None, '{"hnsw": {"space": "ip"}}', {}, "ip"),
        ('{"keys":{"#embedding":{"float_list":{"vector_index":{"config":{"space":"ip"}}}}}}', "{}", {}, "ip"),
        ("not json", "[]", {"hnsw:space": "ip"}, "ip"),
    ],
)
def test_the_truth_about_the_metric(
    schema: str | None, config: str | None, metadata: dict[str, Any], space: str
) -> None:
    """0.5 and 0.6 record `l2` in the configuration of every collection; its metadata says what the index does."""
    assert _codec.hnsw_config(schema, config, metadata)["space"] == space


def test_sequence_numbers_of_both_ages() -> None:
    """Eight big-endian bytes before 1.0, integers since; both stand in one column after an upgrade."""
    assert _codec.sequence((7).to_bytes(8, "big")) == _codec.sequence(7) == 7
    assert _codec.sequence(None) == 0


def test_more_than_chroma_can_write_of_one_record_travels_in_the_envelope() -> None:
    """As many scalars, and as many list elements, as its one statement holds; the others come back all the same."""
    rows = _codec.MOST_ROWS
    scalars: dict[str, Any] = {f"s{n:05}": n for n in range(rows + 10)}
    lists: dict[str, Any] = {f"l{n}": list(range(rows // 2)) for n in range(3)}
    for metadata in (scalars, lists, {**scalars, **lists}, {"whole": list(range(rows + 1)), "few": [1]}):
        text = pack(metadata)[0]
        wrapped = _codec.wrap(text)
        assert wrapped is not None
        assert sum(not isinstance(value, list) for value in wrapped.values()) <= rows - 2, (
            "the document and the uri too"
        )
        assert sum(len(value) for value in wrapped.values() if isinstance(value, list)) <= rows
        assert _codec.unwrap(pack(wrapped)[0])[0] == text
    full = {f"s{n:05}": n for n in range(_codec.LIMITS.metadata_keys or 0)}
    assert _codec.wrap(pack(full)[0]) == full, "nothing is taken out of the filters' sight without need"
