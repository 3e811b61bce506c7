"""Which framework wrote this? Judged from the traces it leaves, on counts, so that every record has a voice. Pure.

Payloads (Qdrant) are judged by their shape, canonical records (Chroma) by their collection's name, their keys and their
ids. A layout is named where at least 95 % of the records agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vecferry.layouts import (
    FLAT,
    HAYSTACK,
    LANGCHAIN,
    LAYOUTS,
    LLAMAINDEX,
    MEM0,
    OPENWEBUI,
    OPENWEBUI_SHARED,
    PLAIN,
    Layout,
    haystack,
    langchain,
    openwebui,
)

AGREEMENT = 0.95
"""Share of the records that must bear a layout's traces."""


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
    """The name of the layout by which somebody else's payloads are read: one that 95 % of them bear, else `flat`.

    Every payload fits `flat`. Those that do not fit the layout found are read as metadata as a whole (`Layout.fits`).
    """
    shares = {
        name: sum(map(found.wears, payloads)) / len(payloads)
        for name, found in LAYOUTS.items()
        if payloads and (found.marks or any(found.document_key in payload for payload in payloads))
    }
    telling = [name for name, share in shares.items() if share >= AGREEMENT and name != FLAT.name]
    return max(telling, key=lambda name: len(LAYOUTS[name].marks), default=FLAT.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """What a scan of canonical records leaves to judge by.

    Attributes:
        name: of the collection, without its namespace.
        records: how many.
        keys: metadata key -> records that have it.
        documents: records that have a document.
        metadata: of the collection.
        id_bytes: lengths of the shortest and the longest id.
    """

    name: str
    records: int
    keys: Mapping[str, int]
    documents: int
    metadata: Mapping[str, Any]
    id_bytes: tuple[int, int]

    def share(self, layout: Layout) -> float:
        """Records that have every mark of `layout` among their metadata keys, at most."""
        return min(self.keys.get(key, 0) for key in layout.marks) / max(1, self.records)


def detect_records(
    *,
    name: str,
    records: int,
    keys: Mapping[str, int],
    documents: int,
    metadata: Mapping[str, Any] | None = None,
    id_bytes: tuple[int, int] = (0, 0),
    card_layout: str = "",
    payload_layout: str = "",
) -> Detection:
    """Who wrote these canonical records?

    Args:
        card_layout: what the collection's card says, "" where it has none; a card is believed.
        payload_layout: what `detect_payloads` said, "" where records stand in no payload (Chroma).
        name, records, keys, documents, metadata, id_bytes: see `Traces`.
    """
    if card_layout:
        return Detection(layout=card_layout, writer="vecferry", note="The collection's card says so.")
    if payload_layout:
        return _of_payloads(payload_layout)
    if not records:
        return Detection()
    seen = Traces(
        name=name, records=records, keys=keys, documents=documents, metadata=metadata or {}, id_bytes=id_bytes
    )
    return next((found for look in _LOOKS if (found := look(seen)) is not None), Detection())


def _of_payloads(name: str) -> Detection:
    """The layout as found, and who writes such payloads."""
    return Detection(
        layout=name, writer=LAYOUTS[name].writer, note=f"The payloads have the shape of the layout '{name}'."
    )


def _judge(layout: Layout, share: float, note: str) -> Detection:
    """`layout` where enough records agree, else plain with a word about it."""
    if share >= AGREEMENT:
        return Detection(layout=layout.name, writer=layout.writer, share=share, note=note)
    doubt = f"Only {share:.0%} of the records look like {layout.writer}; treated as plain."
    return Detection(share=1.0 - share, note=doubt)


# --------------------------------------------------------------------------- one look for each framework


def _llamaindex(seen: Traces) -> Detection | None:
    share = seen.share(LLAMAINDEX)
    return _judge(LLAMAINDEX, share, "Every record holds a node of LlamaIndex.") if share else None


def _mem0(seen: Traces) -> Detection | None:
    without = 1 - seen.documents / seen.records
    if seen.share(MEM0) < AGREEMENT or without < AGREEMENT:
        return None
    return _judge(MEM0, seen.share(MEM0), "Every record has the keys of a memory of mem0, and none has a document.")


def _openwebui(seen: Traces) -> Detection | None:
    chunks = min(seen.keys.get(key, 0) for key in openwebui.TRACES) >= AGREEMENT * seen.records
    if not chunks and not openwebui.is_name(seen.name):
        return None
    shared = seen.keys.get(openwebui.TENANT, 0) >= AGREEMENT * seen.records
    note = "The collection's name or its keys are Open WebUI's own; it finds it with --layout openwebui[-shared] alone."
    return _judge(OPENWEBUI_SHARED if shared else OPENWEBUI, seen.documents / seen.records, note)


def _langchain(seen: Traces) -> Detection | None:
    named = seen.name == langchain.DEFAULT_COLLECTION or seen.name.startswith("langchain-")
    if not named and "langchain" not in str(seen.metadata).lower():
        return None
    note = "The collection bears LangChain's name and every record has a text."
    return _judge(LANGCHAIN, seen.documents / seen.records, note)


def _haystack(seen: Traces) -> Detection | None:
    if seen.id_bytes != (haystack.ID_BYTES, haystack.ID_BYTES):
        return None
    splits = seen.keys.get("source_id", 0) and seen.keys.get("split_id", 0)
    if seen.name == haystack.DEFAULT_COLLECTION or splits:
        note = "The ids are as long as Haystack's, and the collection's name or its keys are Haystack's own."
        return _judge(HAYSTACK, seen.documents / seen.records, note)
    return Detection(
        note="The ids are as long as Haystack's. Choose the layout `haystack` where Haystack will read it."
    )


def _loaders(seen: Traces) -> Detection | None:
    """Metadata keys that LangChain's loaders and text splitters write, alone, decide nothing."""
    split = any(seen.keys.get(key) for key in ("start_index", "page_label", "total_pages"))
    if seen.keys.get("source", 0) < AGREEMENT * seen.records or not split:
        return None
    return Detection(
        note="The metadata looks like that of LangChain's loaders. "
        "Choose the layout `langchain` where langchain-qdrant will read it."
    )


_LOOKS = (_llamaindex, _mem0, _openwebui, _langchain, _haystack, _loaders)
