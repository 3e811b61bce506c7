"""Metadata: what is packed is unpacked, type for type; equal text means equal values, and the other way round."""

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from vecferry.tags import _DECODE, canonical, loads, pack, unpack
from vecferry.testing import strategies as vst
from vecferry.testing.contracts.compare import same


@given(vst.metadata())
def test_unpack_undoes_pack(value):
    """Every type comes back: int is not float, bool is not int, null is not missing, NaN is NaN, -0.0 is -0.0."""
    assert same(unpack(*pack(value)), value)


@given(vst.metadata(), vst.metadata())
def test_equal_bytes_mean_equal_values(left, right):
    """Canonical text with its tags is a perfect stand-in for the value."""
    assert (pack(left) == pack(right)) == same(left, right)


@given(vst.metadata(), st.randoms())
def test_key_order_does_not_matter(value, random):
    """Two objects that differ in the order of their keys, at any depth, have one text."""

    def shuffled(item):
        if isinstance(item, list):
            return [shuffled(one) for one in item]
        if isinstance(item, dict):
            pairs = [(key, shuffled(one)) for key, one in item.items()]
            random.shuffle(pairs)
            return dict(pairs)
        return item

    assert pack(shuffled(value)) == pack(value)


@given(vst.metadata())
def test_text_is_json_that_any_parser_reads(value):
    """The packed text and the tags are strict JSON, and every tag is a known one."""
    text, tags = pack(value)
    assert isinstance(json.loads(text, parse_constant=lambda name: 1 / 0), dict)
    assert set(json.loads(tags or b"{}").values()) <= _DECODE.keys()


@given(vst.metadata(st.one_of(st.none(), st.booleans(), vst.text, st.integers(-(2**63), 2**64 - 1))))
def test_plain_values_need_no_tags(value):
    """What JSON can say travels untagged, so that other readers see the plain thing."""
    text, tags = pack(value)
    assert tags is None
    assert same(loads(text), value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_written_shortest_and_exactly(value):
    """A float's text reads back to the same bits, and as a float."""
    assert same(loads(canonical(value)), value)
    assert math.copysign(1, loads(canonical(value))) == math.copysign(1, value)
