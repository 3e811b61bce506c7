"""Open WebUI: its Chroma client, and its two Qdrant clients (retrieval/vector/dbs of its source).

One logical collection for each file, knowledge base and user, under the same name in every store. In Qdrant it is
either a collection of its own, or, by default, the share of a `tenant_id` in one of five collections.
"""

from __future__ import annotations

import re
from dataclasses import replace

from vecferry.layouts.model import Layout
from vecferry.model import FieldIndex, IndexKind

TENANT = "tenant_id"
PREFIX = "open-webui"
"""Default of its setting QDRANT_COLLECTION_PREFIX."""
_NAMES = re.compile(r"open-webui|(file|user-memory|web-search)-[0-9a-f]{8}-[0-9a-f]{4}-")
_HASH = re.compile(r"[0-9a-f]{63}")
TRACES = ("embedding_config", "hash")
"""Metadata keys of all its chunks of documents."""
_INDEXES = tuple(FieldIndex(key=key, kind=IndexKind.KEYWORD) for key in ("hash", "file_id"))


def is_name(name: str) -> bool:
    """True where a collection is called as Open WebUI calls its own."""
    return _NAMES.match(name) is not None


def own_collection(name: str) -> str:
    """The Qdrant collection in which Open WebUI looks for the logical collection `name`, where each has its own."""
    return name if name.startswith(f"{PREFIX}_") else f"{PREFIX}_{name}"


def shared_collection(name: str) -> str:
    """The shared Qdrant collection in which Open WebUI looks for the logical collection `name`.

    `_get_collection_and_tenant_id` of dbs/qdrant_multitenancy.py: full SHA-256 names have 64 digits, and go with the
    knowledge bases.
    """
    if name.startswith(f"{PREFIX}_"):
        return name
    if name.startswith("user-memory-"):
        kind = "memories"
    elif name.startswith("file-"):
        kind = "files"
    elif name.startswith("web-search-"):
        kind = "web-search"
    elif _HASH.fullmatch(name):
        kind = "hash-based"
    else:
        kind = "knowledge"
    return f"{PREFIX}_{kind}"


OPENWEBUI = Layout(
    name="openwebui",
    writer="Open WebUI",
    document_key="text",
    needs_document=True,
    needs_metadata=True,
    marks=frozenset({"text", "metadata"}),
    indexes=_INDEXES,
    place=own_collection,
)
OPENWEBUI_SHARED = replace(
    OPENWEBUI,
    name="openwebui-shared",
    lifted=(TENANT,),
    marks=frozenset({"text", "metadata", TENANT}),
    indexes=(FieldIndex(key=TENANT, kind=IndexKind.KEYWORD, tenant=True), *_INDEXES),
    config={"hnsw_config": {"m": 0, "payload_m": 16}},
    place=shared_collection,
)
