"""Which framework wrote this: judged from traces that 95 % of the records must bear."""

from __future__ import annotations

from typing import Any

import pytest

from vecferry.layouts.detect import detect_payloads, detect_records


@pytest.mark.parametrize(
    "payload,layout,writer",
    [
        ({"page_content": "x", "metadata": {"a": 1}}, "langchain", "LangChain"),
        ({"page_content": "x", "metadata": {}, "_vf": {"id": "a"}}, "langchain", "LangChain"),
        ({"document": "x", "metadata": {}, "uri": "u"}, "plain", "vecferry"),
        ({"document": "x", "lang": "en"}, "flat", ""),
        ({"content": "x", "metadata": {}}, "plain", "LangChain.js"),
        ({"_node_content": "{}", "_node_type": "TextNode", "a": 1}, "plain", "LlamaIndex"),
        ({"id": "a", "content": "x", "meta": {}}, "plain", "Haystack"),
        ({"document": "x", "__id__": "a", "lang": "en"}, "plain", "qdrant/migration"),
        ({"page_content": "x", "metadata": {}, "group_id": "g"}, "plain", "Dify"),
        ({"page_content": "x", "metadata": "text"}, "plain", ""),
        ({"a": 1}, "plain", ""),
        ({}, "plain", ""),
    ],
)
def test_payloads_give_their_writer_away(payload: dict[str, Any], layout: str, writer: str) -> None:
    """Fingerprints as the frameworks' own classes write them."""
    found = detect_payloads([payload] * 100)
    assert (found.layout, found.writer) == (layout, writer)


@pytest.mark.parametrize("others,layout", [(5, "langchain"), (6, "plain")])
def test_less_than_95_percent_is_plain_and_said(others: int, layout: str) -> None:
    """The border, and a word about it."""
    payloads = [{"page_content": "x", "metadata": {}}] * (100 - others) + [{"a": 1}] * others
    found = detect_payloads(payloads)
    assert found.layout == layout
    assert found.note


def test_nothing_is_plain() -> None:
    """No payload, no claim."""
    assert detect_payloads([]).layout == "plain"
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
    """Its text stands inside the node, which is copied as it is."""
    found = detect_records(name="docs", records=10, keys={"_node_content": 10}, documents=10)
    assert (found.layout, found.writer) == ("plain", "LlamaIndex")


def test_a_card_is_believed() -> None:
    """What we wrote ourselves needs no guessing."""
    found = detect_records(name="x", records=1, keys={"_node_content": 1}, documents=0, card_layout="flat")
    assert found.layout == "flat"
