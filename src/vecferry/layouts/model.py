"""What a layout is: where a record's text, metadata and id stand in a payload, as data and at most two functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from vecferry.model import FieldIndex, IdRule, JsonObject

ENVELOPE = "_vf"
"""Everything of ours stands under this key."""

Texts = tuple[str | None, dict[str, Any]]
"""(document, metadata)"""


@dataclass(frozen=True, slots=True)
class Conversion:
    """Two pure functions for a framework that keeps the text inside one of its metadata values.

    Attributes:
        encode: (document, metadata) of a record -> (document, metadata) as they stand in a payload; the document is
            None where it went into the metadata. Its arguments are not to be changed.
        decode: the inverse; the document is None where none stands in the metadata. Where `encode` could not give the
            metadata back bit for bit, it leaves them as they are.
    """

    encode: Callable[[str | None, dict[str, Any]], Texts]
    decode: Callable[[dict[str, Any]], Texts]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where things stand in a payload.

    Attributes:
        writer: the framework that writes and reads it, for a person; "" for one of ours.
        document_key: the key of the text.
        uri_key: the key of the uri.
        metadata_key: the key under which the metadata object stands; None lifts its keys to the top level.
        needs_document / needs_metadata: the reader expects the key even where the record has none.
        id_key: the key of the original id; None where it stands in the envelope, and only where it was rewritten.
        id_rule: the rule by which the framework itself makes point ids; None where it takes them as they are.
        lifted: metadata keys with texts that stand at the top level, beside the metadata object.
        extras: further keys of the framework, null in nearly all payloads. What is not null stands in the metadata, as
            one object under `extras_key`.
        inner_envelope: the reader minds keys beside its own, so that the envelope stands in the metadata object.
        marks: keys that every payload of the framework has, by which it is told.
        indexes: payload indexes that the framework makes, or needs, where records have these metadata keys.
        config: settings of a collection as the framework makes it, under Qdrant's own names.
        place: name of a collection elsewhere -> name of the collection in which the framework looks for its records;
            several may have one, where `lifted` keys tell them apart.
        conversion: for a text that stands deeper than under a key.
    """

    name: str
    writer: str = ""
    document_key: str
    uri_key: str = "uri"
    metadata_key: str | None = "metadata"
    needs_document: bool = False
    needs_metadata: bool = False
    id_key: str | None = None
    id_rule: IdRule | None = None
    lifted: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    inner_envelope: bool = False
    marks: frozenset[str] = frozenset()
    indexes: tuple[FieldIndex, ...] = ()
    config: JsonObject = field(default_factory=dict)
    place: Callable[[str], str] | None = None
    conversion: Conversion | None = None

    @cached_property  # asked for once per record
    def own_keys(self) -> frozenset[str]:
        """Keys at the top of a payload that are not the record's metadata."""
        keys = {self.document_key, self.uri_key, *self.lifted, *self.extras, self.id_key, self.metadata_key}
        if not self.inner_envelope:
            keys.add(ENVELOPE)
        return frozenset(key for key in keys if key is not None)

    @property
    def extras_key(self) -> str:
        """The metadata key of an object with the `extras` that are not null."""
        return f"_{self.name}"

    @cached_property
    def taken_keys(self) -> frozenset[str]:
        """Metadata keys that the layout needs for itself where metadata stands."""
        if self.metadata_key is None:
            return self.own_keys
        return frozenset({ENVELOPE} if self.inner_envelope else ())

    @cached_property
    def envelope_path(self) -> str:
        """The payload path of the envelope."""
        return f"{self.metadata_key}.{ENVELOPE}" if self.inner_envelope else ENVELOPE

    @cached_property
    def id_path(self) -> str:
        """The payload path of an original id that the point's id does not show."""
        return self.id_key or f"{self.envelope_path}.id"

    def original_id(self, payload: Mapping[str, Any] | None) -> str | None:
        """The original id in a payload, or in what is left of one cut down to `id_path`; None where there is none."""
        found: Any = payload
        for key in self.id_path.split("."):
            found = found.get(key) if isinstance(found, Mapping) else None
        return found if isinstance(found, str) else None

    def fits(self, payload: Mapping[str, Any]) -> bool:
        """True where `payload` has exactly this shape: nothing beside it, texts that are texts, one metadata object.

        What does not fit is read as metadata as a whole. Where metadata stands at the top level, everything fits.
        """
        if self.metadata_key is None:
            return True
        return (
            payload.keys() <= self.own_keys
            and _text_or_nothing(payload, self.document_key, null=bool(self.marks))
            and all(_text_or_nothing(payload, key) for key in (self.uri_key, *self.lifted))
            and type(payload.get(self.metadata_key, _EMPTY)) is dict
            and (self.id_key is None or type(payload.get(self.id_key)) is str)
        )

    def wears(self, payload: Mapping[str, Any]) -> bool:
        """True where `payload` fits and bears the framework's marks."""
        return self.marks <= payload.keys() and self.fits(payload)


_EMPTY: dict[str, Any] = {}


def _text_or_nothing(payload: Mapping[str, Any], key: str, *, null: bool = False) -> bool:
    value = payload.get(key, "")
    return type(value) is str or (null and value is None)
