"""Ids: what kind a text is, and the one rule that turns ids into what a target can hold. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from string import Formatter
from uuid import UUID

import numpy as np

from vecferry.errors import ConfigError
from vecferry.model import IdKind, IdRule

_UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
MAX_U64 = (1 << 64) - 1
_UUID_BYTES = 36


def is_canonical_uuid(text: bytes) -> bool:
    """True where `text` (UTF-8) is a UUID in its own canonical form: lower case, with hyphens."""
    return _UUID.fullmatch(text) is not None


def is_u64(text: bytes) -> bool:
    """True where `text` (UTF-8) is an unsigned 64-bit integer in its own canonical form: no sign, no leading zero."""
    return len(text) <= 20 and text.isdigit() and (text[:1] != b"0" or text == b"0") and int(text) <= MAX_U64


def kind_of(kind: IdKind, text: bytes) -> IdKind:
    """The kind of one id in a collection of `kind`: a `TEXT` id that is a canonical UUID counts as `UUID`.

    A text id made of digits stays `TEXT`: the source knows it as text, and 12 is not "12".
    """
    return IdKind.UUID if kind is IdKind.TEXT and is_canonical_uuid(text) else kind


_CANONICAL: dict[IdKind, Callable[[bytes], bool]] = {IdKind.INT: is_u64, IdKind.UUID: is_canonical_uuid}
"""kind -> whether a text is the one spelling of it that comes back unchanged"""


def common_kind(one: IdKind, other: IdKind) -> IdKind:
    """The kind of a collection that holds ids of both kinds: a UUID is a text that comes back unchanged."""
    if one is other:
        return one
    return IdKind.TEXT if {one, other} == {IdKind.TEXT, IdKind.UUID} else IdKind.MIXED


class IdMapper:
    """`IdRule` made ready for many ids: maps canonical text to canonical text."""

    def __init__(self, rule: IdRule, *, tenant: str = "") -> None:
        """Prepare `rule`.

        Raises:
            ConfigError: the namespace is no UUID, or the template does not hold `{id}` once.
        """
        try:
            self._namespace = UUID(rule.namespace).bytes
        except ValueError as error:
            raise ConfigError(
                f"The namespace '{rule.namespace}' of the id rule is not a UUID.",
                hint="Write 8-4-4-4-12 hexadecimal digits, or leave the rule's namespace out.",
            ) from error
        self._verbatim = frozenset(rule.verbatim)
        self._affix = {kind: _split(rule.template, kind, tenant) for kind in IdKind}

    def map(self, kind: IdKind, text: bytes) -> tuple[bytes, bool]:
        """(target id, rewritten?) of one id of `kind`. A target id is u64 digits or a canonical UUID."""
        actual = kind_of(kind, text)
        if actual in self._verbatim and _CANONICAL.get(actual, bool)(text):
            return text, False
        before, after = self._affix[kind]
        return uuid5(self._namespace, before + text + after), True

    def map_all(self, kind: IdKind, texts: Sequence[bytes]) -> list[tuple[bytes, bool]]:
        """`map` over many ids of one kind."""
        if kind is not IdKind.TEXT:
            return [self.map(kind, text) for text in texts]
        before, after = self._affix[kind]
        prefix, keeps_uuids = self._namespace + before, IdKind.UUID in self._verbatim
        if IdKind.TEXT in self._verbatim:
            return [(text, False) for text in texts]
        kept = {text for text in texts if len(text) == _UUID_BYTES and keeps_uuids and is_canonical_uuid(text)}
        made = iter(uuids5(prefix, [text + after for text in texts if text not in kept]))
        return [(text, False) if text in kept else (next(made), True) for text in texts]


def _split(template: str, kind: IdKind, tenant: str) -> tuple[bytes, bytes]:
    """The bytes before and after the id, so that a name is one concatenation."""
    try:
        fields = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
        if fields.count("id") != 1 or not {"kind", "tenant", "id"}.issuperset(fields):
            raise ValueError(fields)
        before, after = (part.format(kind=kind.value, tenant=tenant) for part in template.split("{id}"))
    except (ValueError, LookupError) as error:
        raise ConfigError(
            f"The template '{template}' of the id rule cannot tell ids apart.",
            hint="Write {id} once; {kind} and {tenant} may stand beside it.",
        ) from error
    return before.encode(), after.encode()


def uuid5(namespace: bytes, name: bytes) -> bytes:
    """The canonical text of a version 5 UUID (RFC 9562, section 5.5), without building `UUID` objects."""
    h = hashlib.sha1(namespace + name, usedforsecurity=False).hexdigest()
    return f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:32]}".encode()


def uuids5(namespace: bytes, names: Sequence[bytes]) -> list[bytes]:
    """`uuid5` of many names, in half the time: bits and hexadecimal digits are set for all of them at once."""
    sha1 = hashlib.sha1
    digests = b"".join([sha1(namespace + name, usedforsecurity=False).digest() for name in names])
    raw = np.frombuffer(digests, np.uint8).reshape(-1, 20)[:, :16].copy()
    raw[:, 6] = raw[:, 6] & 0x0F | 0x50  # the version
    raw[:, 8] = raw[:, 8] & 0x3F | 0x80  # the variant
    text = np.full((len(names), _UUID_BYTES), ord("-"), np.uint8)
    text[:, _DIGITS] = _HEX[raw].view(np.uint8)
    out: list[bytes] = text.view(f"S{_UUID_BYTES}").ravel().tolist()
    return out


_HEX = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), np.uint16)
"""The two hexadecimal digits of each byte, as they stand in memory."""
_DIGITS = [place for place in range(_UUID_BYTES) if place not in (8, 13, 18, 23)]
"""Where a UUID's text has digits; hyphens elsewhere."""
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
"""The digit that carries the variant: its two upper bits become 10."""
