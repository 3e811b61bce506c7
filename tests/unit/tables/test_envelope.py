"""What stands in `_vf`: records come back from it whatever their columns can hold."""

from __future__ import annotations

import orjson
import pytest

from vecferry.arrow import from_records, utf8
from vecferry.model import CollectionSpec, Record
from vecferry.tables.envelope import fit, jsonb_text, restore
from vecferry.tags import canonical, loads

SPEC = CollectionSpec(name="docs")
BIG = 10**60
RECORDS = [
    Record(id="all", vectors={}, document="a\0b", uri="file:///\0a", metadata={"\0": BIG, "k": 1}),
    Record(id="none", vectors={}),
    Record(id="empty", vectors={}, document="", uri="", metadata={}),
    Record(id="half", vectors={}, uri="u", metadata={"a": -0.0}),
]


@pytest.mark.parametrize("uri", [True, False])
@pytest.mark.parametrize("filled", ["", "d", "m", "dm"])
def test_what_the_columns_cannot_say_comes_back(uri: bool, filled: str) -> None:
    """NUL, also in the pointer of a tag; no column for the uri; columns that are NOT NULL."""
    batch = from_records(SPEC, RECORDS)
    fitted = fit(batch, jsonb=True, nul=False, uri=uri, filled=filled)
    documents, metadata, notes = (a.to_pylist() for a in (fitted.document, fitted.metadata, fitted.envelope))
    uris = fitted.uri.to_pylist() if uri else [None] * len(RECORDS)
    assert ("d" in filled) == (None not in documents)
    assert ("m" in filled) == (None not in metadata)
    assert not any("\0" in str(text) or "\\u0000" in str(text) for text in (*documents, *metadata, *notes, *uris))
    for row, record in enumerate(RECORDS):
        text = None if metadata[row] is None else canonical(loads(jsonb_text(metadata[row].encode())))
        told = restore(notes[row] or b"{}", document=documents[row], uri=uris[row], metadata=text, jsonb=True)
        assert (told.document, told.uri) == (record.document, record.uri)
        assert (told.metadata, told.tags) == (utf8(batch, "metadata")[row], utf8(batch, "tags")[row])


def test_a_note_about_what_was_filled_is_void_once_somebody_wrote_there() -> None:
    fitted = fit(from_records(SPEC, RECORDS[1:2]), jsonb=True, nul=False, filled="dm")
    (note,) = fitted.envelope.to_pylist()
    assert orjson.loads(note) == {"n": "dm"}
    told = restore(note, document="new", uri=None, metadata=b'{"a":1}', jsonb=True)
    assert (told.document, told.metadata) == ("new", b'{"a":1}')


@pytest.mark.parametrize(
    "note", ['{"n":1}', '{"d":["x"]}', '{"t":"x"}', '{"seq":"1"}', '{"m":"€"}', '{"later":1}', "[]"]
)
def test_an_envelope_that_somebody_changed_is_none(note: str) -> None:
    """Then the record is set aside with a reason, and the run goes on."""
    with pytest.raises(ValueError, match=r"an envelope|ASCII"):
        restore(note, document="text", uri=None, metadata=b"{}", jsonb=True)
