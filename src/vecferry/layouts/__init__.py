"""Layouts: where a framework puts a record's text, metadata and id inside a payload. Data, and pure functions.

| layout             | payload                                                | who reads it                           |
|--------------------|--------------------------------------------------------|----------------------------------------|
| `plain`            | `{document, uri, metadata: {…}, _vf: {…}}`             | vecferry, and anybody                  |
| `flat`             | `{document, uri, …metadata, _vf: {…}}`                 | scripts that filter on bare keys       |
| `langchain`        | `{page_content, metadata: {…}, _vf: {…}}`              | `langchain_qdrant.QdrantVectorStore`   |
| `llamaindex`       | `{_node_content (with the text), …metadata, _vf: {…}}` | LlamaIndex's `QdrantVectorStore`       |
| `haystack`         | `{id, content, meta: {…, _vf: {…}}}`                   | Haystack's `QdrantDocumentStore`       |
| `mem0`             | `{data, …metadata, _vf: {…}}`                          | mem0                                   |
| `openwebui`        | `{text, metadata: {…}, _vf: {…}}`                      | Open WebUI, one collection a name      |
| `openwebui-shared` | `{text, metadata: {…}, tenant_id, _vf: {…}}`           | Open WebUI, five shared collections    |
| `synaplan`         | `{_point_id, text, …metadata, _vf: {…}}`               | synaplan                               |

Everything of ours stands under `_vf` (`ENVELOPE`). One module for each framework.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from vecferry.errors import ConfigError
from vecferry.layouts.haystack import HAYSTACK
from vecferry.layouts.langchain import LANGCHAIN
from vecferry.layouts.llamaindex import LLAMAINDEX
from vecferry.layouts.mem0 import MEM0
from vecferry.layouts.model import ENVELOPE, Conversion, Layout
from vecferry.layouts.openwebui import OPENWEBUI, OPENWEBUI_SHARED
from vecferry.layouts.plain import FLAT, PLAIN
from vecferry.layouts.synaplan import SYNAPLAN
from vecferry.model import IdRule

__all__ = [
    "ENVELOPE",
    "FLAT",
    "HAYSTACK",
    "LANGCHAIN",
    "LAYOUTS",
    "LLAMAINDEX",
    "MEM0",
    "OPENWEBUI",
    "OPENWEBUI_SHARED",
    "PLAIN",
    "SYNAPLAN",
    "Conversion",
    "Layout",
    "id_rule",
    "layout",
]

LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        layout.name: layout
        for layout in (PLAIN, FLAT, LANGCHAIN, LLAMAINDEX, HAYSTACK, MEM0, OPENWEBUI, OPENWEBUI_SHARED, SYNAPLAN)
    }
)


def layout(name: str) -> Layout:
    """The layout called `name`.

    Raises:
        ConfigError: there is none; lists those that there are.
    """
    try:
        return LAYOUTS[name]
    except KeyError:
        raise ConfigError(f"There is no layout '{name}'.", hint=f"Known: {', '.join(LAYOUTS)}.") from None


def id_rule(name: str, asked: IdRule) -> IdRule:
    """The id rule of a collection in layout `name`: the one asked for, or where that is the default, the framework's.

    Raises:
        ConfigError: there is no such layout.
    """
    own = layout(name).id_rule
    return own if own is not None and asked == IdRule() else asked
