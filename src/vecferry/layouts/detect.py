"""Which framework wrote this? Judged from the traces it leaves, on counts, so that every record has a voice. Pure.

Payloads (Qdrant) are judged by their shape, canonical records (Chroma) by their collection's name and their keys.
A layout is named where at least 95 % of the records agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vecferry.layouts import FLAT, LANGCHAIN, LAYOUTS, PLAIN

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


def detect_payloads(payloads: Sequence[Mapping[str, Any]]) -> str:
    """The name of the layout by which somebody else's payloads are read: one that 95 % of them fit, else `flat`.

    Every payload fits `flat`. Those that do not fit the layout found are read as metadata as a whole (`Layout.fits`).
    """
    nested = [layout for layout in LAYOUTS.values() if layout.metadata_key is not None]
    for layout in nested:
        seen = any(layout.document_key in payload for payload in payloads)
        if seen and sum(map(layout.fits, payloads)) >= AGREEMENT * len(payloads):
            return layout.name
    return FLAT.name


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
    payload_layout: str = "",
) -> Detection:
    """Who wrote these canonical records?

    Args:
        name: of the collection, without its namespace.
        keys: metadata key -> records that have it.
        documents: records that have a document.
        metadata: of the collection.
        card_layout: what the collection's card says, "" where it has none; a card is believed.
        payload_layout: what `detect_payloads` said, "" where records stand in no payload (Chroma).
    """
    if card_layout:
        return Detection(layout=card_layout, writer="vecferry", note="The collection's card says so.")
    if payload_layout:
        return _of_payloads(payload_layout, keys, records)
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


def _of_payloads(layout: str, keys: Mapping[str, int], records: int) -> Detection:
    """The layout as found, and who writes such payloads."""
    if keys.get(MARK_LLAMAINDEX, 0) >= AGREEMENT * max(1, records):
        return Detection(layout=layout, writer="LlamaIndex", note=_LLAMAINDEX_NOTE)
    writer = "LangChain" if layout == LANGCHAIN.name else ""
    return Detection(layout=layout, writer=writer, note=f"The payloads have the shape of the layout '{layout}'.")


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
