"""LlamaIndex: `ChromaVectorStore` and `QdrantVectorStore`.

Both write metadata flat and beside it `_node_content`, the whole node as JSON text (`node_to_metadata_dict` of
llama_index/core/vector_stores/utils.py). In Chroma the node's text is taken out of it and stands as the document; in
Qdrant it stands in `_node_content` alone, and a node whose text stands anywhere else is read as empty, without an
error. So the text moves: out of the document into the node, and back.
"""

from __future__ import annotations

import json
from typing import Any

from vecferry.layouts.model import Conversion, Layout, Texts
from vecferry.model import FieldIndex, IndexKind

NODE = "_node_content"
NODE_TYPE = "_node_type"
_TEXT, _RESOURCE = "text", "text_resource"
_IN_RESOURCE = ("Node", "Document")
"""Kinds of node whose text stands in `text_resource` (`MediaResource`); a `Document` shows it under `text` too."""


def encode(document: str | None, metadata: dict[str, Any]) -> Texts:
    """The text put into the node. Where there is no node that can be read, the document stays beside it."""
    node = _node(metadata)
    if node is None or document is None:
        return document, metadata
    if _text_of(node) == document:
        return None, metadata
    escaped = bool(_escapes(metadata[NODE], node))
    return None, {**metadata, NODE: _dump(_with_text(node, document), escaped=escaped)}


def decode(metadata: dict[str, Any]) -> Texts:
    """The text taken out of the node, and left in it too where putting it back would not give the same bytes."""
    node = _node(metadata)
    text = None if node is None else _text_of(node)
    if node is None or text is None or not _is_unicode(text):
        return None, metadata
    thin = {**metadata, NODE: _dump(_with_text(node, ""), escaped=bool(_escapes(metadata[NODE], node)))}
    return text, thin if encode(text, thin)[1] == metadata else metadata


def _node(metadata: dict[str, Any]) -> dict[str, Any] | None:
    """The node, where there is one; a text that `json.loads` refuses is none."""
    text = metadata.get(NODE)
    if not isinstance(text, str):
        return None
    try:
        node = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return node if isinstance(node, dict) else None


def _text_of(node: dict[str, Any]) -> str | None:
    resource = node.get(_RESOURCE)
    text = resource.get(_TEXT) if isinstance(resource, dict) else node.get(_TEXT)
    return text if isinstance(text, str) else None


def _with_text(node: dict[str, Any], text: str) -> dict[str, Any]:
    """`node` with another text, in every place where a node of its kind has one; the order of keys stays."""
    resource = node.get(_RESOURCE)
    changed = dict(node)
    if isinstance(resource, dict):
        changed[_RESOURCE] = {**resource, _TEXT: text}
    elif node.get("class_name") in _IN_RESOURCE:
        changed[_RESOURCE] = {"embeddings": None, _TEXT: text, "path": None, "url": None, "mimetype": None}
    if _TEXT in node or not isinstance(changed.get(_RESOURCE), dict):
        changed[_TEXT] = text
    return changed


def _escapes(text: str, node: dict[str, Any]) -> bool | None:
    """Whether a node's JSON writes all but ASCII as escapes, as LlamaIndex did once; None where its form is another.

    A node of ASCII characters alone counts as not escaped.
    """
    return next((style for style in (False, True) if _dump(node, escaped=style) == text), None)


def _dump(node: dict[str, Any], *, escaped: bool) -> str:
    return json.dumps(node, ensure_ascii=escaped)


def _is_unicode(text: str) -> bool:
    """False for half a surrogate pair, which JSON can say and no store can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


LLAMAINDEX = Layout(
    name="llamaindex",
    writer="LlamaIndex",
    document_key="text",  # what its Qdrant class reads where `_node_content` cannot be read
    metadata_key=None,
    marks=frozenset({NODE, NODE_TYPE}),
    indexes=(FieldIndex(key="doc_id", kind=IndexKind.KEYWORD),),
    conversion=Conversion(encode, decode),
)
