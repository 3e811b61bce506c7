"""LangChain for Python: `langchain_chroma.Chroma` and `langchain_qdrant.QdrantVectorStore`."""

from __future__ import annotations

from vecferry.layouts.model import Layout

LANGCHAIN = Layout(
    name="langchain", writer="LangChain", document_key="page_content", needs_document=True, needs_metadata=True
)
DEFAULT_COLLECTION = "langchain"
"""The name that `langchain_chroma.Chroma` gives where the caller gives none."""
