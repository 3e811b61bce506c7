"""Synaplan: the points of `user_documents`, as its QdrantClient writes them.

Its own id of a chunk, `doc_USER_FILE_CHUNK`, stands under `_point_id`, and the point has its uuid5 in the namespace of
DNS names (RFC 9562, appendix A). The text and every other field stand side by side.
"""

from __future__ import annotations

from vecferry.layouts.model import Layout
from vecferry.model import FieldIndex, IdRule, IndexKind

NAMESPACE_DNS = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"

SYNAPLAN = Layout(
    name="synaplan",
    writer="synaplan",
    document_key="text",
    metadata_key=None,
    id_key="_point_id",
    id_rule=IdRule(namespace=NAMESPACE_DNS, template="{id}", verbatim=()),
    marks=frozenset({"_point_id", "text", "user_id", "file_id", "chunk_index"}),
    indexes=(
        FieldIndex(key="user_id", kind=IndexKind.INTEGER),
        FieldIndex(key="file_id", kind=IndexKind.INTEGER),
        FieldIndex(key="group_key", kind=IndexKind.KEYWORD),
    ),
)
