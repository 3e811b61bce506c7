"""Proof that no two records of a collection fall on one target id, before anything is written.

Every target id is brought to a 16-byte key (a UUID's own bytes; a text's digest) and all keys are compared: in memory
while they fit, else in files by their first bits, one of which is sorted at a time. Only where keys are equal is the
source read again, for the ids behind them.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vecferry.arrow import id_kinds, utf8
from vecferry.errors import IdCollision
from vecferry.ids import IdMapper, is_canonical_uuid, is_u64, kind_of
from vecferry.limits import Limits, Shape
from vecferry.model import CollectionSpec, IdKind, IdRule
from vecferry.planning.model import Collision
from vecferry.protocols import Source

_WIDTH = 16
_UUID_TEXT = 36
_IN_MEMORY = 4 << 20
"""Keys held in memory (64 MiB) before they go to files."""
_BUCKETS = 256
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class IdSpace:
    """How a target names records: by their own ids, or by what a rule makes of them.

    `rule` None means that the target takes any text as it stands; the integer 12 and the text "12" then fall on one id,
    unless it is `typed` and knows the kind of each id as well.
    """

    rule: IdRule | None
    tenant: str = ""
    typed: bool = False

    @classmethod
    def of(cls, limits: Limits, rule: IdRule, tenant: str = "") -> IdSpace:
        """The space of a store with these limits."""
        if IdKind.TEXT not in limits.id_kinds:
            return cls(rule, tenant)
        return cls(None, tenant, typed=IdKind.INT in limits.id_kinds and Shape.ID_INT not in limits.restores)

    def keys(self, batch: pa.RecordBatch, spec: CollectionSpec) -> bytes:
        """The 16-byte key of each record's target id, joined."""
        texts = [text or b"" for text in utf8(batch, "id")]
        if self.rule is not None and spec.id_kind is IdKind.TEXT:
            return self._text_keys(self.rule, texts, batch)
        kinds = id_kinds(batch, spec)
        if self.rule is None:
            marks = [kind.encode() if self.typed else b"" for kind in kinds]
            return b"".join([_digest(text, mark) for text, mark in zip(texts, marks, strict=True)])
        mapper = IdMapper(self.rule, tenant=self.tenant)
        return b"".join([_key(mapper.map(kind, text)[0]) for kind, text in zip(kinds, texts, strict=True)])

    def _text_keys(self, rule: IdRule, texts: Sequence[bytes], batch: pa.RecordBatch) -> bytes:
        """The usual case, without a Python call per id: text ids, of which those of 36 bytes may be UUIDs."""
        before, after = _affixes(rule, self.tenant)
        head, sha1 = UUID(rule.namespace).bytes + before, hashlib.sha1
        raw = bytearray(b"".join([sha1(head + text + after).digest()[:_WIDTH] for text in texts]))
        table = np.frombuffer(raw, np.uint8).reshape(-1, _WIDTH)
        table[:, 6] = table[:, 6] & 0x0F | 0x50
        table[:, 8] = table[:, 8] & 0x3F | 0x80
        if texts and pc.max(pc.binary_length(batch.column("id"))).as_py() >= _UUID_TEXT:
            self._replace_uuids(rule, texts, table)
        return bytes(raw)

    def _replace_uuids(self, rule: IdRule, texts: Sequence[bytes], table: NDArray[np.uint8]) -> None:
        mapper = IdMapper(rule, tenant=self.tenant)
        for row, text in enumerate(texts):
            if len(text) == _UUID_TEXT and is_canonical_uuid(text):
                table[row] = np.frombuffer(_key(mapper.map(IdKind.TEXT, text)[0]), np.uint8)

    def target(self, kind: IdKind, text: bytes) -> str:
        """The target id itself, for a message."""
        if self.rule is None:
            return f"{kind} {text.decode()}" if self.typed else text.decode()
        return IdMapper(self.rule, tenant=self.tenant).map(kind, text)[0].decode()


def _digest(text: bytes, mark: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=_WIDTH, person=mark).digest()


def _affixes(rule: IdRule, tenant: str) -> tuple[bytes, bytes]:
    mark = "\x00\x00id\x00\x00"
    before, _, after = rule.template.format(kind=IdKind.TEXT.value, tenant=tenant, id=mark).partition(mark)
    return before.encode(), after.encode()


def _key(target: bytes) -> bytes:
    """A UUID's bytes; an integer in a form that no uuid5 has. `collisions` looks at the ids themselves again."""
    if is_u64(target):
        return b"\x00int\x00\x00\x00\x00" + int(target).to_bytes(8, "big")
    return bytes.fromhex(target.replace(b"-", b"").decode())


class IdProof:
    """Takes the keys of every record and tells which occur more than once. Memory: 64 MiB, whatever the number."""

    def __init__(self, space: IdSpace, *, in_memory: int = _IN_MEMORY) -> None:
        self.space = space
        self._limit = in_memory
        self._keys: list[bytes] = []
        self._held = 0
        self._files: list[IO[bytes]] = []

    def add(self, batch: pa.RecordBatch, spec: CollectionSpec) -> None:
        """The records of one canonical batch of `spec`."""
        self._keys.append(self.space.keys(batch, spec))
        self._held += batch.num_rows
        if self._held > self._limit:
            self._spill()

    def _spill(self) -> None:
        if not self._files:
            self._files = [tempfile.TemporaryFile(prefix="vecferry-ids-") for _ in range(_BUCKETS)]  # noqa: SIM115 # `close`
        table = np.frombuffer(b"".join(self._keys), np.uint8).reshape(-1, _WIDTH)
        bucket = table[:, _WIDTH - 1]  # the last byte: random in a digest, and counting up in integers
        order = np.argsort(bucket, kind="stable")
        bounds = np.searchsorted(bucket[order], np.arange(_BUCKETS + 1))
        for index, file in enumerate(self._files):
            file.write(table[order[bounds[index] : bounds[index + 1]]].tobytes())
        self._keys, self._held = [], 0

    def repeated(self) -> frozenset[bytes]:
        """Keys that occur more than once. Ends the proof: its files are closed."""
        if not self._files:
            return frozenset(_repeated(b"".join(self._keys)))
        self._spill()
        found: set[bytes] = set()
        for file in self._files:
            file.seek(0)
            found.update(_repeated(file.read()))
            file.close()
        return frozenset(found)

    def close(self) -> None:
        """Give the files back where the scan broke off."""
        for file in self._files:
            file.close()


def _repeated(raw: bytes) -> list[bytes]:
    """Keys that stand in `raw` more than once. Two unsigned integers sort faster than 16 bytes."""
    halves = np.frombuffer(raw, ">u8").reshape(-1, 2).astype(np.uint64)
    order = np.lexsort((halves[:, 1], halves[:, 0])) if len(halves) else np.zeros(0, np.intp)
    ranked = halves[order]
    same = (ranked[1:] == ranked[:-1]).all(axis=1)
    return [key.astype(">u8").tobytes() for key in ranked[1:][same]]


def collisions(sources: Iterable[Source], space: IdSpace, repeated: frozenset[bytes]) -> tuple[Collision, ...]:
    """The source ids behind repeated keys, at most five keys' worth; reads the sources again."""
    wanted = dict.fromkeys(sorted(repeated)[:_SHOWN]) if repeated else {}
    found: dict[bytes, list[tuple[IdKind, bytes]]] = {key: [] for key in wanted}
    for source in sources if wanted else ():
        for batch, spec in batches(source):
            for key, kind, text in _named(batch, spec, space):
                if key in found and len(found[key]) < _SHOWN:
                    found[key].append((kind, text))
    return tuple(collision for ids in found.values() if ids and (collision := _collision(space, ids)))


def _named(batch: pa.RecordBatch, spec: CollectionSpec, space: IdSpace) -> Iterator[tuple[bytes, IdKind, bytes]]:
    raw = space.keys(batch, spec)
    for row, (kind, text) in enumerate(zip(id_kinds(batch, spec), utf8(batch, "id"), strict=True)):
        yield raw[row * _WIDTH : (row + 1) * _WIDTH], kind, text or b""


def _collision(space: IdSpace, ids: Sequence[tuple[IdKind, bytes]]) -> Collision | None:
    """The collision behind one key; None where only the keys agree and the target ids do not."""
    target = space.target(*ids[0])
    same = [(kind, text) for kind, text in ids if space.target(kind, text) == target]
    named = tuple(f"{kind_of(kind, text)} {text.decode()}" for kind, text in same)
    return Collision(target=target, ids=named) if len(named) > 1 else None


def batches(source: Source) -> Iterator[tuple[pa.RecordBatch, CollectionSpec]]:
    """Every batch of a source, with the spec that describes it."""
    spec = source.describe()
    for partition in source.partitions():
        for chunk in source.read(partition):
            yield chunk.batch, spec


def prove(open_sources: Sequence[Callable[[], Source]], space: IdSpace) -> tuple[Collision, ...]:
    """Whether the records of all these sources together have different ids in `space`; the collisions if not.

    Reads every source once, and again only where ids collide. Each callable opens a source, which is closed here.
    """
    opened = [open_source() for open_source in open_sources]
    proof = IdProof(space)
    try:
        for source in opened:
            for batch, spec in batches(source):
                proof.add(batch, spec)
        return collisions(opened, space, proof.repeated())
    finally:
        proof.close()
        for source in opened:
            source.close()


def refuse(name: str, found: Sequence[Collision]) -> None:
    """Raise `IdCollision` for the collisions of a target collection, if there are any."""
    if not found:
        return
    first = found[0]
    if len(set(first.ids)) == 1:
        message = f"The id '{first.ids[0]}' occurs {len(first.ids)} times in what goes to '{name}'."
        hint = (
            "A source that holds an id twice is damaged. Or two collections were mapped to one name: give them two, or "
            "new ids on the way (a transform: ids: '{@collection}:{@id}')."
        )
    else:
        message = f"{' and '.join(repr(text) for text in first.ids)} would both become {first.target} in '{name}'."
        hint = "Choose another id rule in the plan (id_rule.template or id_rule.namespace), or another target name."
    raise IdCollision(message, hint=hint, ids=[text for collision in found for text in collision.ids])
