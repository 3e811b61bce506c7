"""mem0: the same flat payload in every store, without a document of its own; the memory's text stands under `data`.

mem0's Qdrant class makes keyword indexes on the keys that tell whose memory it is (vector_stores/qdrant.py).
"""

from __future__ import annotations

from vecferry.layouts.model import Layout
from vecferry.model import FieldIndex, IndexKind

SCOPES = ("user_id", "agent_id", "run_id", "actor_id")

MEM0 = Layout(
    name="mem0",
    writer="mem0",
    document_key="document",
    metadata_key=None,
    marks=frozenset({"data", "hash", "created_at"}),
    indexes=tuple(FieldIndex(key=key, kind=IndexKind.KEYWORD) for key in SCOPES),
)
