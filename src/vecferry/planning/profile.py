"""One pass over every record of a collection, in bounded memory: what is in it, and what is odd about it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vecferry.arrow import dense, id_kinds, present, utf8
from vecferry.events import Observer, Progress, Stage, StageFinished, StageStarted, silent
from vecferry.ids import kind_of
from vecferry.layouts.detect import Detection, detect_records
from vecferry.limits import Limits, Shape
from vecferry.model import Chunk, CollectionSpec, Element, IdKind, IdRule, Metric, VectorKind, VectorSpec
from vecferry.planning.breakdown import Groups
from vecferry.planning.collisions import IdProof, IdSpace, collisions
from vecferry.planning.model import Collision, Profile
from vecferry.planning.sizes import Sizes
from vecferry.planning.tally import Spread, Tally
from vecferry.planning.values import MetadataStats
from vecferry.protocols import Source

UNIT = 1e-6
"""A squared length this near to 1 counts as 1; Qdrant leaves such vectors as they are."""
_TINY = 1e-30
"""Squared lengths below this may have lost components to underflow."""
_UUID_TEXT = 36
_NUL_JSON = b"\\u0000"


class VectorStats:
    """One vector of a collection over the records so far."""

    def __init__(self, vector: VectorSpec, tally: Tally[Shape]) -> None:
        self.vector = vector
        self.count = 0
        self.norms = Spread()
        self._tally = tally

    def add(self, batch: pa.RecordBatch, there: NDArray[np.bool_], ids: Callable[[int], str]) -> None:
        """One batch; `there` says which records have the vector."""
        self.count += int(there.sum())
        if self.vector.kind is not VectorKind.DENSE or not self.vector.dim:
            return
        squared = squared_norms(dense(batch, self.vector), self.vector.element)
        all_there = bool(there.all())
        self.norms.add(np.sqrt(squared if all_there else squared[there]))
        for shape, rows in self._odd(squared):
            hit = rows if all_there else rows & there
            self._tally.add(shape, int(hit.sum()), lambda hit=hit: map(ids, np.flatnonzero(hit).tolist()))  # type: ignore[misc]

    def _odd(self, squared: NDArray[np.float64]) -> Iterator[tuple[Shape, NDArray[np.bool_]]]:
        finite, zero = np.isfinite(squared), squared == 0
        yield Shape.NON_FINITE_VECTOR, ~finite
        yield Shape.ZERO_VECTOR, zero
        if self.vector.metric is Metric.COSINE:
            yield Shape.COSINE_LENGTH, (np.abs(squared - 1) > UNIT) & ~zero & finite


def squared_norms(values: NDArray[np.generic], element: Element) -> NDArray[np.float64]:
    """The squared length of each row: not finite only where a component is not, 0 only where all are 0.

    Summed in float32, and again in float64 where that left its range: squares of ordinary components are far inside.
    """
    wide: Any = values if element is Element.FLOAT32 else values.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        squared: NDArray[np.float64] = np.einsum("ij,ij->i", wide, wide).astype(np.float64)
    odd = np.flatnonzero(~np.isfinite(squared) | (squared < _TINY))
    if odd.size:
        exact = wide[odd].astype(np.float64)
        squared[odd] = np.einsum("ij,ij->i", exact, exact)
    return squared


class Profiler:
    """Takes a collection chunk by chunk and keeps what a plan needs to know; `profile` drives it."""

    def __init__(
        self, spec: CollectionSpec, *, rule: IdRule, limits: Limits | None = None, by: Sequence[str] = ()
    ) -> None:
        self.spec = spec
        self.records = self.bytes = 0
        self.shapes: Tally[Shape] = Tally()
        self.rejected: Tally[str] = Tally()
        self.set_aside: Tally[str] = Tally()
        self.rule = rule
        self.proof = IdProof(IdSpace(rule))
        self._kinds: Counter[str] = Counter()
        self._vectors = [VectorStats(vector, self.shapes) for vector in spec.vectors]
        self._metadata = MetadataStats(self.shapes, limits)
        self._ids, self._documents = Spread(), Spread()
        self._sizes = {"id": Sizes(), "document": Sizes(), "uri": Sizes(), "record": Sizes()}
        self._document_count = 0
        self._groups = Groups(by)

    def add(self, chunk: Chunk) -> None:
        """One chunk, each of its records looked at."""
        for rejection in chunk.rejected:
            tally = self.set_aside if rejection.aside else self.rejected
            tally.add(rejection.reason, 1, lambda rejection=rejection: [rejection.id])  # type: ignore[misc]
        batch = chunk.batch
        if not batch.num_rows:
            return
        names = batch.column("id")
        self._groups.add(batch)
        self.records += batch.num_rows
        self.bytes += batch.nbytes

        def ids(row: int) -> str:
            return str(names[row].as_py())

        self._add_ids(batch, ids)
        self._add_vectors(batch, ids)
        raws, tags = (
            utf8(batch, "metadata"),
            utf8(batch, "tags") if batch.column("tags").null_count < batch.num_rows else None,
        )
        self._metadata.add(raws, tags, ids)
        self._add_texts(batch, raws, ids)
        self._sizes["record"].add(record_bytes(batch), ids)

    def _add_ids(self, batch: pa.RecordBatch, ids: Callable[[int], str]) -> None:
        lengths = lengths_of(batch.column("id"))
        self._ids.add(lengths)
        self._sizes["id"].add(lengths, ids)
        self.proof.add(batch, self.spec)
        if self.spec.id_kind is IdKind.MIXED:
            self._kinds.update(kind.value for kind in id_kinds(batch, self.spec))
            return
        uuids = 0
        if self.spec.id_kind is IdKind.TEXT and (lengths == _UUID_TEXT).any():
            uuids = sum(kind_of(IdKind.TEXT, text or b"") is IdKind.UUID for text in utf8(batch, "id"))
        self._kinds.update({IdKind.UUID.value: uuids, self.spec.id_kind.value: batch.num_rows - uuids})

    def _add_vectors(self, batch: pa.RecordBatch, ids: Callable[[int], str]) -> None:
        masks = [present(batch, stats.vector) for stats in self._vectors]
        for stats, there in zip(self._vectors, masks, strict=True):
            stats.add(batch, there, ids)
        if masks:
            none = ~np.logical_or.reduce(masks)
            self.shapes.add(Shape.NO_VECTOR, int(none.sum()), lambda: map(ids, np.flatnonzero(none).tolist()))

    def _add_texts(self, batch: pa.RecordBatch, raws: list[bytes | None], ids: Callable[[int], str]) -> None:
        documents, rows = batch.column("document"), batch.num_rows
        there = documents.is_valid().to_numpy(zero_copy_only=False)
        lengths = lengths_of(documents)
        self._documents.add(lengths[there])
        self._sizes["document"].add(lengths, ids)
        self._document_count += int(there.sum())
        self.shapes.add(Shape.NO_DOCUMENT, documents.null_count, lambda: map(ids, np.flatnonzero(~there).tolist()))
        uris = batch.column("uri")
        self.shapes.add(Shape.URI, rows - uris.null_count, lambda: map(ids, _rows(uris.is_valid())))
        if uris.null_count < rows:
            self._sizes["uri"].add(lengths_of(uris), ids)
        nul = nul_rows(documents, raws)
        self.shapes.add(Shape.NUL_IN_TEXT, len(nul), lambda: map(ids, nul))
        ordered = rows - batch.column("seq").null_count
        self.shapes.add(Shape.ORDER, ordered, lambda: ())

    def result(self, found: tuple[Collision, ...], seconds: float) -> Profile:
        """Everything seen, as a frozen value."""
        layout = self._layout()
        return Profile(
            spec=replace(self.spec, count=self.records),
            records=self.records,
            bytes=self.bytes,
            id_kinds={kind: count for kind, count in self._kinds.items() if count},
            dimensions={s.vector.name: {s.vector.dim or 0: s.count} for s in self._vectors if s.count},
            norms={s.vector.name: norms for s in self._vectors if (norms := s.norms.range())},
            shapes=self.shapes.seen(),
            keys=self._metadata.profiles(),
            rejected=self.rejected.seen(),
            set_aside=self.set_aside.seen(),
            document_bytes=self._documents.range(),
            id_bytes=self._ids.range(),
            sizes={what: dict(sorted(sizes.histogram.items())) for what, sizes in self._sizes.items()},
            largest={what: tuple(sizes.largest) for what, sizes in self._sizes.items()},
            id_rule=self.rule,
            collisions=found,
            untracked_keys=self._metadata.untracked,
            layout=layout.layout,
            layout_share=layout.share,
            writer=layout.writer,
            layout_note=layout.note,
            breakdowns=self._groups.breakdowns(),
            seconds=seconds,
        )

    def _layout(self) -> Detection:
        """Which framework wrote it, as far as its records tell."""
        ids = self._ids.range()
        return detect_records(
            name=self.spec.name,
            records=self.records,
            keys=self._metadata.counts(),
            documents=self._document_count,
            metadata=self.spec.metadata,
            id_bytes=(int(ids.low), int(ids.high)) if ids else (0, 0),
            card_layout=self.spec.card.layout if self.spec.card else "",
            payload_layout=self.spec.layout,
        )


def _rows(mask: pa.BooleanArray) -> list[int]:
    rows: list[int] = np.flatnonzero(mask.to_numpy(zero_copy_only=False)).tolist()
    return rows


def lengths_of(array: pa.Array) -> NDArray[np.int64]:
    """UTF-8 bytes per cell of a text or JSON column; 0 for null."""
    storage = array.storage if isinstance(array, pa.ExtensionArray) else array
    lengths = pc.fill_null(pc.binary_length(storage), 0)
    wide: NDArray[np.int64] = np.asarray(lengths.to_numpy(zero_copy_only=False), np.int64)
    return wide


def record_bytes(batch: pa.RecordBatch) -> NDArray[np.int64]:
    """Bytes of each record: its texts one by one, its vectors as the batch's mean."""
    texts = [batch.column(name) for name in ("id", "document", "uri", "metadata")]
    sizes: NDArray[np.int64] = np.sum([lengths_of(array) for array in texts], axis=0, dtype=np.int64)
    vectors = sum(batch.column(field.name).nbytes for field in batch.schema if _is_vector(field.name))
    sizes += vectors // batch.num_rows
    return sizes


def _is_vector(name: str) -> bool:
    return name.partition(".")[0] in {"vector", "sparse", "multi", "bits"}


def nul_rows(documents: pa.Array, raws: list[bytes | None]) -> list[int]:
    """Rows with U+0000 in the document or the metadata."""
    rows = {row for row, raw in enumerate(raws) if raw is not None and _NUL_JSON in raw}
    if holds_nul(documents):
        rows.update(_rows(pc.fill_null(pc.match_substring(documents, "\x00"), False)))
    return sorted(rows)


def holds_nul(texts: pa.Array) -> bool:
    """Whether a NUL byte stands anywhere in a large_string column."""
    _, offsets, data = texts.buffers()
    if data is None or offsets is None:
        return False
    bounds = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return not np.frombuffer(data, np.uint8)[int(bounds[0]) : int(bounds[-1])].all()


Chunks = Callable[[Source], Iterable[Chunk]]
"""A way to read all of a source."""


def straight(source: Source) -> Iterator[Chunk]:
    """Every chunk; a read that breaks off ends it."""
    for partition in source.partitions():
        yield from source.read(partition)


def profile(
    source: Source,
    observer: Observer = silent,
    *,
    rule: IdRule | None = None,
    limits: Limits | None = None,
    chunks: Chunks = straight,
    by: Sequence[str] = (),
) -> Profile:
    """Look at every record of `source`, once.

    Args:
        rule: the id rule whose target ids are proven different in the same pass.
        limits: of the target, where there is one: what only it minds is counted too.
        chunks: how the source is read, for who wants to try again what breaks off.
        by: metadata keys by whose values the records are counted.

    Raises:
        whatever the source raises: Unavailable, CorruptData …
    """
    started = time.monotonic()
    spec = source.describe()
    name = spec.qualified_name
    observer(StageStarted(stage=Stage.INSPECT, collection=name, records=spec.count))
    profiler = Profiler(spec, rule=rule or IdRule(), limits=limits, by=by)
    try:
        for chunk in chunks(source):
            profiler.add(chunk)
            observer(
                Progress(stage=Stage.INSPECT, collection=name, records=chunk.batch.num_rows, bytes=chunk.batch.nbytes)
            )
        found = collisions([source], profiler.proof.space, profiler.proof.repeated())
    finally:
        profiler.proof.close()
    seconds = time.monotonic() - started
    observer(StageFinished(stage=Stage.INSPECT, collection=name, records=profiler.records, seconds=seconds))
    return profiler.result(found, seconds)
