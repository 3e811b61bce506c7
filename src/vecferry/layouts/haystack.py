"""Haystack 2 and 3: `ChromaDocumentStore` and `QdrantDocumentStore`.

A payload is `Document.to_dict(flatten=False)` without its vectors (haystack_integrations' qdrant/converters.py), and a
point's id is the uuid5 of the document's own id in a namespace of Haystack's. Documents are overwritten and deleted by
that id, so any other would leave doubles behind. `Document.from_dict` refuses whatever stands beside its own keys
(Haystack 2), or takes it for metadata (Haystack 3): our envelope stands inside `meta`.
"""

from __future__ import annotations

from vecferry.layouts.model import Layout
from vecferry.model import IdRule

NAMESPACE = "3896d314-1e95-4a3a-b45a-945f9f0b541d"
"""`UUID_NAMESPACE` of qdrant/converters.py."""
DEFAULT_COLLECTION = "documents"
"""The name that `ChromaDocumentStore` gives where the caller gives none."""
ID_BYTES = 64
"""Length of the ids that Haystack gives: SHA-256 in hexadecimal digits."""

HAYSTACK = Layout(
    name="haystack",
    writer="Haystack",
    document_key="content",
    metadata_key="meta",
    needs_metadata=True,
    id_key="id",
    id_rule=IdRule(namespace=NAMESPACE, template="{id}", verbatim=()),
    extras=("blob", "score", "sparse_embedding", "dataframe"),
    inner_envelope=True,
    marks=frozenset({"id", "meta"}),
)
