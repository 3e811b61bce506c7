"""Which framework wrote this? Judged from the traces it leaves, on counts, so that every record has a voice. Pure.

A layout is named where at least 95 % of the records bear its traces; otherwise it is `plain`, and the share is told.
Fingerprints were read from the frameworks' own sources.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vecferry.layouts import ENVELOPE, FLAT, LANGCHAIN, PLAIN

AGREEMENT = 0.95
"""Share of the records that must bear a layout's traces."""
MARK_LLAMAINDEX = "_node_content"
LANGCHAIN_COLLECTION = "langchain"
"""The name that `langchain_chroma.Chroma` gives where the caller gives none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """What the traces say.

    Attributes:
        layout: the name of a layout that we can write (`vecferry.layouts.LAYOUTS`).
        writer: who probably wrote the records, for a person: "LangChain", "LlamaIndex" …, "" where nobody shows.
        share: records that bear the traces, 0 to 1.
        note: one sentence about what was seen, "" where there is nothing to say.
    """

    layout: str = PLAIN.name
    writer: str = ""
    share: float = 1.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Payload:
    """A set of payload keys that gives a writer away; `may` are keys that do not speak against it."""

    must: frozenset[str]
    may: frozenset[str] | None
    detection: Detection


def _payload(writer: str, must: str, may: str | None = "", layout: str = PLAIN.name, note: str = "") -> _Payload:
    allowed = None if may is None else frozenset((must + " " + may).split()) | {ENVELOPE}
    return _Payload(frozenset(must.split()), allowed, Detection(layout=layout, writer=writer, note=note))


_PAYLOADS = (
    _payload("LlamaIndex", "_node_content _node_type", None, note="LlamaIndex nodes, text inside _node_content."),
    _payload(
        "LangChain", "page_content metadata", "", LANGCHAIN.name, "page_content and metadata, as LangChain writes."
    ),
    _payload("vecferry", "document metadata", "uri", PLAIN.name, "document and metadata, as vecferry writes."),
    _payload("Dify", "page_content metadata group_id", "", note="page_content, metadata and group_id, as Dify writes."),
    _payload(
        "LangChain.js", "content metadata", "", note="content and metadata, as LangChain.js, n8n and Flowise write."
    ),
    _payload("Haystack", "id content meta", None, note="id, content and meta, as Haystack writes."),
    _payload("mem0", "data hash created_at", None, note="data, hash and created_at, as mem0 writes."),
    _payload("qdrant/migration", "document __id__", None, note="document and __id__, as qdrant/migration writes."),
    _payload("Spring AI", "doc_content", None, note="doc_content, as Spring AI writes."),
)


def detect_payloads(payloads: Iterable[Mapping[str, Any]]) -> Detection:
    """Who wrote these Qdrant payloads? Give at least 100 of them where there are as many.

    Payloads whose keys all stand at the top level, beside a `document`, are `flat`.
    """
    counts: Counter[int] = Counter()
    flat = rows = 0
    for payload in payloads:
        rows += 1
        counts[_match(payload)] += 1
        flat += "document" in payload and not isinstance(payload.get("metadata"), Mapping)
    return _elect(counts, flat, rows)


def _match(payload: Mapping[str, Any]) -> int:
    """Index of the first fingerprint that fits, -1 for none."""
    keys = payload.keys()
    for index, mark in enumerate(_PAYLOADS):
        nested = "metadata" not in mark.must or isinstance(payload.get("metadata"), Mapping)
        if nested and mark.must <= keys and (mark.may is None or keys <= mark.may):
            return index
    return -1


def _elect(counts: Counter[int], flat: int, rows: int) -> Detection:
    if not rows:
        return Detection()
    index, votes = counts.most_common(1)[0]
    if index >= 0:
        return _judge(_PAYLOADS[index].detection, votes / rows)
    if flat >= AGREEMENT * rows:
        return Detection(
            layout=FLAT.name, share=flat / rows, note="document beside the metadata keys, all at the top level."
        )
    return Detection()


def _judge(found: Detection, share: float) -> Detection:
    """`found` where enough records agree, else plain with a word about it."""
    if share >= AGREEMENT:
        return Detection(layout=found.layout, writer=found.writer, share=share, note=found.note)
    note = f"Only {share:.0%} of the records look like {found.writer or found.layout}; treated as plain."
    return Detection(share=1.0 - share, note=note)


def detect_records(
    *,
    name: str,
    records: int,
    keys: Mapping[str, int],
    documents: int,
    metadata: Mapping[str, Any] | None = None,
    card_layout: str = "",
) -> Detection:
    """Who wrote these canonical records? For sources whose records have a document and metadata of their own (Chroma).

    Args:
        name: of the collection, without its namespace.
        keys: metadata key -> records that have it.
        documents: records that have a document.
        metadata: of the collection.
        card_layout: what the collection's card says, "" where it has none; a card is believed.
    """
    if card_layout:
        return Detection(layout=card_layout, writer="vecferry", note="The collection's card says so.")
    if not records:
        return Detection()
    marked = keys.get(MARK_LLAMAINDEX, 0)
    if marked:
        return _judge(Detection(writer="LlamaIndex", note=_LLAMAINDEX_NOTE), marked / records)
    if name.startswith(("open-webui", "file-", "user-memory-")):
        return Detection(writer="Open WebUI", note="The collection's name is one that Open WebUI gives.")
    if _is_langchain(name, metadata or {}):
        return _judge(Detection(layout=LANGCHAIN.name, writer="LangChain", note=_LANGCHAIN_NOTE), documents / records)
    if keys.get("source", 0) >= AGREEMENT * records and any(keys.get(key) for key in _SPLITTER_KEYS):
        return Detection(note=_PERHAPS_LANGCHAIN)
    return Detection()


_SPLITTER_KEYS = ("start_index", "page_label", "total_pages")
"""Metadata keys that LangChain's loaders and text splitters write."""
_PERHAPS_LANGCHAIN = (
    "The metadata looks like that of LangChain's loaders. "
    "Choose the layout `langchain` where langchain-qdrant will read it."
)

_LANGCHAIN_NOTE = "The collection bears LangChain's name and every record has a text."
_LLAMAINDEX_NOTE = "LlamaIndex nodes: its Qdrant class reads the text from _node_content, which is copied as it stands."


def _is_langchain(name: str, metadata: Mapping[str, Any]) -> bool:
    return name == LANGCHAIN_COLLECTION or name.startswith("langchain-") or "langchain" in str(metadata).lower()
