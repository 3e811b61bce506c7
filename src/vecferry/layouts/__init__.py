"""Layouts: where a framework puts a record's text and metadata inside a payload. Data and two pure functions.

| layout      | payload                                          | who reads it                      |
|-------------|--------------------------------------------------|-----------------------------------|
| `plain`     | `{document, uri, metadata: {…}, _vf: {…}}`       | vecferry, and anybody             |
| `flat`      | `{document, uri, …metadata, _vf: {…}}`           | scripts that filter on bare keys  |
| `langchain` | `{page_content, metadata: {…}, _vf: {…}}`        | `langchain_qdrant.QdrantVectorStore` |

Everything of ours stands under `_vf` (`ENVELOPE`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from vecferry.errors import ConfigError

ENVELOPE = "_vf"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where things stand in a payload.

    Attributes:
        document_key: the key of the text.
        uri_key: the key of the uri.
        metadata_key: the key under which the metadata object stands; None lifts its keys to the top level.
        needs_document / needs_metadata: the reader expects the key even where the record has none.
    """

    name: str
    document_key: str
    uri_key: str = "uri"
    metadata_key: str | None = "metadata"
    needs_document: bool = False
    needs_metadata: bool = False

    @cached_property  # asked for once per record
    def own_keys(self) -> frozenset[str]:
        """Payload keys that are not the record's metadata."""
        keys = {self.document_key, self.uri_key, ENVELOPE}
        return frozenset(keys if self.metadata_key is None else {*keys, self.metadata_key})

    def fits(self, payload: Mapping[str, Any]) -> bool:
        """True where `payload` has exactly this shape: nothing beside it, texts that are texts, one metadata object.

        What does not fit is read as metadata as a whole. Where metadata stands at the top level, everything fits.
        """
        if self.metadata_key is None:
            return True
        return (
            payload.keys() <= self.own_keys
            and type(payload.get(self.document_key, "")) is str
            and type(payload.get(self.uri_key, "")) is str
            and type(payload.get(self.metadata_key, _EMPTY)) is dict
        )

    def path(self, key: str) -> str:
        """The payload path of metadata key `key`, as the first component(s); not quoted for any store."""
        return key if self.metadata_key is None else f"{self.metadata_key}.{key}"


_EMPTY: dict[str, Any] = {}

PLAIN = Layout(name="plain", document_key="document")
FLAT = Layout(name="flat", document_key="document", metadata_key=None)
LANGCHAIN = Layout(name="langchain", document_key="page_content", needs_document=True, needs_metadata=True)

LAYOUTS: Mapping[str, Layout] = MappingProxyType({layout.name: layout for layout in (PLAIN, FLAT, LANGCHAIN)})


def layout(name: str) -> Layout:
    """The layout called `name`.

    Raises:
        ConfigError: there is none; lists those that there are.
    """
    try:
        return LAYOUTS[name]
    except KeyError:
        raise ConfigError(f"There is no layout '{name}'.", hint=f"Known: {', '.join(LAYOUTS)}.") from None
