"""The column `_vf`: what a table of ours cannot say comes back, and a note about a changed value says nothing."""

import math

import orjson
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from vecferry.arrow import from_records, to_records
from vecferry.model import CollectionSpec, IdKind, Record
from vecferry.tables import envelope
from vecferry.tags import canonical, loads, unpack
from vecferry.testing import strategies as vst
from vecferry.testing.contracts.compare import same

SPEC = CollectionSpec(name="c")


def record(**parts):
    return Record(id="a", vectors={}, **parts)


def there_and_back(given_record, *, change=lambda texts: texts, jsonb=True):
    batch = from_records(SPEC, [given_record])
    fitted = envelope.fit(batch, jsonb=jsonb, nul=False)
    stored = {name: getattr(fitted, name)[0].as_py() for name in ("document", "uri", "metadata")}
    assert "\0" not in "".join(filter(None, stored.values()))
    stored = change(stored)
    metadata = stored.pop("metadata")
    raw = None if metadata is None else canonical(loads(metadata)) if jsonb else metadata.encode()
    note = fitted.envelope[0].as_py() or "{}"
    return envelope.restore(note, **stored, metadata=raw, jsonb=jsonb)


@given(vst.records(SPEC), st.booleans())
def test_every_record_comes_back(given_record, jsonb):
    batch = from_records(SPEC, [given_record])
    found = there_and_back(given_record, jsonb=jsonb)
    (wanted,) = to_records(batch, SPEC)
    assert (found.document, found.uri, found.seq) == (wanted.document, wanted.uri, wanted.seq)
    assert (found.metadata is None) == (wanted.metadata is None)
    assert wanted.metadata is None or same(unpack(found.metadata, found.tags), dict(wanted.metadata))


def test_a_large_float_stays_one_in_jsonb():
    text = envelope.jsonb_text(canonical({"a": 1e300, "b": ',1e5 "1e5"', "c": -0.0, "d": [1e16, 5e-324]}))
    assert same(loads(text), {"a": 1e300, "b": ',1e5 "1e5"', "c": 0.0, "d": [1e16, 5e-324]})
    assert b"e+" not in text.replace(b"1e5", b"")


def test_an_escaped_backslash_before_u0000_is_no_nul():
    value = {"a": "\\u0000", "b": "\\\0", "\0": 1}
    assert orjson.loads(envelope.jsonb_text(canonical(value))) == {"a": "\\u0000", "b": "\\\ufffd", "\ufffd": 1}


def test_only_what_needs_one_has_an_envelope():
    batch = from_records(SPEC, [record(metadata={"a": 1}), record(metadata={"a": math.nan}), record(seq=0)])
    assert envelope.fit(batch, jsonb=True, nul=False).envelope.to_pylist() == [
        None,
        '{"t":{"/a":"float"}}',
        '{"seq":0}',
    ]


def test_a_note_about_a_changed_value_is_left_out():
    given_record = record(document="a\0b", metadata={"a": -0.0})
    changed = there_and_back(given_record, change=lambda texts: {**texts, "document": "new", "metadata": '{"a":2.0}'})
    assert (changed.document, changed.metadata) == ("new", b'{"a":2.0}')
    kept = there_and_back(given_record)
    assert (kept.document, kept.metadata) == ("a\0b", b'{"a":-0.0}')


@given(st.lists(vst.ids(IdKind.MIXED), min_size=1, unique=True))
def test_mixed_ids_have_stored_forms_of_their_own(pairs):
    stored = envelope.stored_ids(pa.array([text for text, _ in pairs]), [kind for _, kind in pairs]).to_pylist()
    assert len(set(stored)) == len(stored)
    assert not any("\0" in text for text in stored)
    found = [(envelope.original_id(text), envelope.mixed_kind(text)) for text in stored]
    plain = [(text, kind) for text, kind in pairs]
    assert [text for text, _ in found] == [text for text, _ in plain]
    assert all(a is b or IdKind.UUID in (a, b) for (_, a), (_, b) in zip(found, plain, strict=True))


@given(st.lists(st.text(min_size=1), min_size=1, unique=True))
def test_text_ids_come_back(texts):
    texts = [*texts, "_vf:abc", "nul\0inside"]
    stored = envelope.stored_ids(pa.array(texts)).to_pylist()
    assert [envelope.original_id(text) for text in stored] == texts
    assert not any("\0" in text for text in stored)


@given(st.lists(st.none() | st.text(max_size=3) | st.just("a\0b")), st.integers(0, 5), st.sampled_from(["", "large_"]))
def test_a_text_with_nul_is_never_overlooked(texts, start, width):
    kind = {"": pa.string(), "large_": pa.large_string()}[width]
    array = pa.array(texts, kind).slice(start)
    assert envelope.holds_nul(array) == any("\0" in text for text in texts[start:] if text is not None)
