"""Which framework wrote this: judged from traces that 95 % of the records must bear."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from vecferry.layouts.detect import detect_payloads, detect_records
from vecferry.layouts.openwebui import own_collection, shared_collection


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


MEMORY = {"data": 20, "hash": 20, "created_at": 20}
CHUNK = {"hash": 20, "embedding_config": 20}


@pytest.mark.parametrize(
    "traces,layout,writer",
    [
        ({"keys": MEMORY, "documents": 0}, "mem0", "mem0"),
        ({"keys": MEMORY, "documents": 20}, "plain", ""),
        ({"keys": MEMORY | {"hash": 18}, "documents": 0}, "plain", ""),
        ({"name": f"file-{UUID(int=1)}", "keys": {}, "documents": 20}, "openwebui", "Open WebUI"),
        ({"name": "file-notes", "keys": {}, "documents": 20}, "plain", ""),
        (
            {"name": f"user-memory-{UUID(int=1)}", "keys": {"tenant_id": 20}, "documents": 20},
            "openwebui-shared",
            "Open WebUI",
        ),
        ({"keys": CHUNK, "documents": 20}, "openwebui", "Open WebUI"),
        ({"keys": CHUNK | {"hash": 18}, "documents": 20}, "plain", ""),
        ({"name": "documents", "keys": {}, "documents": 20, "id_bytes": (64, 64)}, "haystack", "Haystack"),
        ({"name": "documents", "keys": {}, "documents": 20, "id_bytes": (36, 64)}, "plain", ""),
        ({"keys": {"source_id": 1, "split_id": 1}, "documents": 20, "id_bytes": (64, 64)}, "haystack", "Haystack"),
        ({"keys": {}, "documents": 20, "id_bytes": (64, 64)}, "plain", ""),
    ],
)
def test_each_framework_leaves_its_traces(traces: dict[str, Any], layout: str, writer: str) -> None:
    """In Chroma: keys, names and ids, of which each alone may be anybody's."""
    found = detect_records(**{"name": "docs", "records": 20, **traces})
    assert (found.layout, found.writer) == (layout, writer)


@pytest.mark.parametrize(
    "payload,layout",
    [
        ({"id": "a", "content": "x", "meta": {"a": 1}, "blob": None, "score": 0.5}, "haystack"),
        ({"id": "a", "content": None, "meta": {}}, "haystack"),
        ({"id": 7, "content": "x", "meta": {}}, "flat"),
        ({"id": "a", "content": "x", "meta": {}, "more": 1}, "flat"),
        ({"text": "x", "metadata": {"a": 1}}, "openwebui"),
        ({"text": "x", "metadata": {}, "tenant_id": "file-1"}, "openwebui-shared"),
        ({"text": "x", "metadata": {}, "tenant_id": 1}, "flat"),
        ({"data": "x", "hash": "h", "created_at": "t", "user_id": "u"}, "mem0"),
    ],
)
def test_payloads_of_each_framework(payload: dict[str, Any], layout: str) -> None:
    """In Qdrant: exactly its keys and types, where it has an object for metadata; its marks, where it has none."""
    assert detect_payloads([payload] * 20) == layout


@pytest.mark.parametrize(
    "name,place",
    [
        ("file-1", "open-webui_files"),
        ("user-memory-1", "open-webui_memories"),
        ("web-search-1", "open-webui_web-search"),
        ("a" * 63, "open-webui_hash-based"),
        ("a" * 64, "open-webui_knowledge"),
        ("A" * 63, "open-webui_knowledge"),
        ("4a1c", "open-webui_knowledge"),
        ("open-webui_files", "open-webui_files"),
    ],
)
def test_where_open_webui_looks(name: str, place: str) -> None:
    """As its own routing says; a name of 64 digits goes with the knowledge bases."""
    assert shared_collection(name) == place
    assert own_collection(place) == place


def test_a_card_is_believed() -> None:
    """What we wrote ourselves needs no guessing."""
    found = detect_records(name="x", records=1, keys={"_node_content": 1}, documents=0, card_layout="flat")
    assert found.layout == "flat"
