"""Which framework wrote this: judged from traces that 95 % of the records must bear."""

from __future__ import annotations

from typing import Any

import pytest

from vecferry.layouts.detect import detect_payloads, detect_records


@pytest.mark.parametrize(
    "payload,layout",
    [
        ({"page_content": "x", "metadata": {"a": 1}}, "langchain"),
        ({"page_content": "x", "metadata": {}, "_vf": {"id": "a"}}, "langchain"),
        ({"document": "x", "metadata": {}, "uri": "u"}, "plain"),
        ({"document": "x", "metadata": {"a": 1}}, "plain"),
        ({"document": "x", "lang": "en"}, "flat"),
        ({"document": 1, "metadata": {}}, "flat"),
        ({"content": "x", "metadata": {}}, "flat"),
        ({"_node_content": "{}", "_node_type": "TextNode", "a": 1}, "llamaindex"),
        ({"page_content": "x", "metadata": {}, "group_id": "g"}, "flat"),
        ({"page_content": "x", "metadata": "text"}, "flat"),
        ({"a": 1}, "flat"),
        ({}, "flat"),
    ],
)
def test_payloads_have_the_shape_of_a_layout(payload: dict[str, Any], layout: str) -> None:
    """Exactly its keys and types; whatever fits none lies flat."""
    assert detect_payloads([payload] * 100) == layout


@pytest.mark.parametrize("others,layout", [(5, "langchain"), (6, "flat")])
def test_95_percent_of_the_payloads_must_fit(others: int, layout: str) -> None:
    """The border."""
    payloads: list[dict[str, Any]] = [{"page_content": "x", "metadata": {}}] * (100 - others) + [{"a": 1}] * others
    assert detect_payloads(payloads) == layout


@pytest.mark.parametrize(
    "layout,keys,writer",
    [
        ("langchain", {"source": 10}, "LangChain"),
        ("llamaindex", {"_node_content": 10}, "LlamaIndex"),
        ("haystack", {}, "Haystack"),
        ("flat", {"_node_content": 9}, ""),
        ("flat", {"source": 10, "start_index": 10}, ""),
        ("plain", {}, ""),
    ],
)
def test_payloads_say_who_wrote_them(layout: str, keys: dict[str, int], writer: str) -> None:
    """A foreign collection has no card: its layout comes from its payloads, and vecferry is not its writer."""
    found = detect_records(name="docs", records=10, keys=keys, documents=10, payload_layout=layout)
    assert (found.layout, found.writer) == (layout, writer)
    assert "card" not in found.note


def test_nothing_claims_nothing() -> None:
    """No record, no claim."""
    assert detect_payloads([]) == "flat"
    assert detect_records(name="langchain", records=0, keys={}, documents=0).layout == "plain"


def test_the_name_that_langchain_gives() -> None:
    """Chroma collections of LangChain bear its default name, and every record has a text."""
    found = detect_records(name="langchain", records=100, keys={"source": 100}, documents=100)
    assert (found.layout, found.writer) == ("langchain", "LangChain")
    assert detect_records(name="langchain", records=100, keys={}, documents=50).layout == "plain"


def test_metadata_of_langchains_loaders_is_only_a_hint() -> None:
    """It may be LangChain's: said, not decided."""
    found = detect_records(name="docs", records=10, keys={"source": 10, "start_index": 10}, documents=10)
    assert found.layout == "plain"
    assert "langchain" in found.note


def test_llamaindex_nodes_are_told() -> None:
    """In Chroma its text stands beside the node."""
    keys = {"_node_content": 100, "_node_type": 100}
    found = detect_records(name="docs", records=100, keys=keys, documents=100)
    assert (found.layout, found.writer) == ("llamaindex", "LlamaIndex")
    mixed = detect_records(name="docs", records=100, keys=dict.fromkeys(keys, 94), documents=100)
    assert mixed.layout == "plain"
    assert "94%" in mixed.note


def test_a_card_is_believed() -> None:
    """What we wrote ourselves needs no guessing."""
    found = detect_records(name="x", records=1, keys={"_node_content": 1}, documents=0, card_layout="flat")
    assert found.layout == "flat"
