"""LlamaIndex's nodes: the text moves into the node and back, bit for bit, whatever the node looks like."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecferry.layouts.llamaindex import NODE, decode, encode

TEXTS = st.sampled_from(["", "a", "Überfahrt", '"}', "船", "\x00\n"])
NODES = st.dictionaries(
    st.sampled_from(["text", "class_name", "id_", "text_resource", "metadata"]),
    st.one_of(
        st.none(),
        TEXTS,
        st.sampled_from(["Node", "Document", "TextNode"]),
        st.fixed_dictionaries({"text": TEXTS | st.none(), "embeddings": st.none(), "mimetype": TEXTS}),
    ),
)
SPELLINGS = st.one_of(
    st.builds(lambda node, ascii_only: json.dumps(node, ensure_ascii=ascii_only), NODES, st.booleans()),
    st.builds(lambda node: json.dumps(node, separators=(",", ":")), NODES),
    st.sampled_from(["", "{", "[]", "null", '{"text": "\\ud800"}', '{"text": "a", "text": "b"}', '{"text": 1e999}']),
)
METADATA = st.builds(
    lambda node, more: {**more, NODE: node}, SPELLINGS, st.dictionaries(st.text(max_size=3), st.none())
)


def node(**values: Any) -> str:
    return json.dumps(values, ensure_ascii=False)


@pytest.mark.parametrize(
    "thin,fat",
    [
        (node(id_="1", text="", class_name="TextNode"), node(id_="1", text="船", class_name="TextNode")),
        (
            node(class_name="Node", id_="1"),
            node(
                class_name="Node",
                id_="1",
                text_resource={"embeddings": None, "text": "船", "path": None, "url": None, "mimetype": None},
            ),
        ),
        (node(class_name="IndexNode", a=1), node(class_name="IndexNode", a=1, text="船")),
    ],
)
def test_the_text_goes_where_a_node_of_its_kind_has_it(thin: str, fat: str) -> None:
    """A `Node` keeps it in its resource, the others under `text`; and the other metadata is left alone."""
    assert encode("船", {NODE: thin, "a": 1}) == (None, {NODE: fat, "a": 1})
    document, back = decode({NODE: fat, "a": 1})
    assert document == "船"
    assert json.loads(back[NODE])["class_name"] == json.loads(thin)["class_name"]


@given(document=TEXTS | st.none(), metadata=METADATA)
def test_what_a_payload_held_comes_back(document: str | None, metadata: dict[str, Any]) -> None:
    """Whatever `decode` took out of a payload, `encode` puts back bit for bit: it takes nothing else."""
    given_text, taken = decode(dict(metadata))
    assert (
        encode(given_text, taken)
        in {True: [(None, metadata)], False: [(None, metadata), (given_text, metadata)]}[given_text is not None]
    )
    beside, made = encode(document, dict(metadata))
    if document is not None and beside is None:
        assert decode(made)[0] == document


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"text": "\\ud800"}', 7, None])
def test_what_is_no_node_stays_as_it_is(broken: object) -> None:
    """No node, no text in it: document and metadata stay beside each other."""
    assert decode({NODE: broken}) == (None, {NODE: broken})
