"""New vectors from documents. The same text always gets the same vector, since it is kept by content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecferry.arrow import as_array, column, dense, present, schema, utf8
from vecferry.errors import ConfigError
from vecferry.model import UNNAMED, CollectionSpec, Metric, Rejection, VectorKind, VectorSpec
from vecferry.tags import unpack
from vecferry.transforms.embedder import Embedder, Embedders
from vecferry.transforms.model import ANY, ReEmbed
from vecferry.transforms.templates import as_text

_NO_DOCUMENT = "It has no document to make a vector from."
_NO_MODEL = "No model is named for its value of '{}'."


class Embedded:
    """One collection with a vector made anew. Thread-safe.

    Attributes:
        spec: describes the batches that come out.
    """

    def __init__(self, step: ReEmbed, spec: CollectionSpec, embedders: Embedders) -> None:
        self._by = step.by
        self._models: dict[str, Embedder] = (
            {value: embedders.of(model) for value, model in step.models.items()}
            if step.by
            else {ANY: embedders.of(step.single)}
        )
        self._vector = _vector(step, spec, _one_dim(self._models))
        self._old = _kept(step, spec, self._vector)
        self._column = column(self._vector)
        kept = [vector for vector in spec.vectors if vector.name != self._vector.name]
        self.spec = replace(spec, vectors=(self._vector, *kept))
        self._schema = schema(self.spec)

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, tuple[Rejection, ...]]:
        """(records with their new vectors, records that are set aside) of one canonical batch."""
        texts = batch.column("document").to_pylist()
        chosen = self._chosen(batch)
        wanted = self._wanted(batch)
        fit = [
            not anew or (bool(text) and model is not None)
            for anew, text, model in zip(wanted, texts, chosen, strict=True)
        ]
        aside = tuple(
            Rejection(ident.as_py(), _NO_DOCUMENT if not text else _NO_MODEL.format(self._by), aside=True)
            for ident, text, ok in zip(batch.column("id"), texts, fit, strict=True)
            if not ok
        )
        rows = [row for row, ok in enumerate(fit) if ok]
        if aside:
            batch = batch.take(pa.array(rows, pa.int64()))
        new = np.array([wanted[row] for row in rows], np.bool_)
        vectors = np.empty((len(rows), self._vector.dim or 0), np.float32)
        if self._old is not None:
            vectors[~new] = dense(batch, self._old)[~new]
        vectors[new] = self._embed([(texts[row], chosen[row] or "") for row in rows if wanted[row]])
        return self._build(batch, vectors), aside

    def _wanted(self, batch: pa.RecordBatch) -> list[bool]:
        """Which records get a new vector."""
        if self._old is None:
            return [True] * batch.num_rows
        there = present(batch, self._old) & dense(batch, self._old).any(axis=1)
        return [not old for old in there.tolist()]

    def _chosen(self, batch: pa.RecordBatch) -> list[str | None]:
        """Each record's entry of the models; None where there is none."""
        if not self._by:
            return [ANY] * batch.num_rows
        pairs = zip(utf8(batch, "metadata"), utf8(batch, "tags"), strict=True)
        values = [None if raw is None else as_text(unpack(raw, tags).get(self._by)) for raw, tags in pairs]
        rest = ANY if ANY in self._models else None
        return [value if value in self._models else rest for value in values]

    def _embed(self, work: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Vectors for (text, entry) pairs, in their order."""
        vectors = np.empty((len(work), self._vector.dim or 0), np.float32)
        for name, model in self._models.items():
            rows = [row for row, (_, entry) in enumerate(work) if entry == name]
            if rows:
                vectors[rows] = model.embed([work[row][0] for row in rows])
        return vectors

    def _build(self, batch: pa.RecordBatch, vectors: NDArray[np.float32]) -> pa.RecordBatch:
        arrays = [
            as_array(vectors, field.type) if field.name == self._column else batch.column(field.name)
            for field in self._schema
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)


def _one_dim(models: Mapping[str, Embedder]) -> int:
    dims = {model.dim for model in models.values()}
    if len(dims) != 1:
        raise ConfigError(
            f"The models of one collection give vectors of {' and '.join(map(str, sorted(dims)))} dimensions.",
            hint="One collection holds one dimension: split it by the key, or set dimensions where models allow it.",
        )
    return dims.pop()


def _kept(step: ReEmbed, spec: CollectionSpec, new: VectorSpec) -> VectorSpec | None:
    """The vector that most records keep; None where all get a new one.

    Raises:
        ConfigError: there is none, or the model's would be another beside it.
    """
    if not step.missing:
        return None
    old = next((vector for vector in spec.vectors if vector.name == new.name), None)
    if old is None or old != new:
        told = "has no such vector" if old is None else f"has {old.dim} dimensions of {old.element} under {old.metric}"
        raise ConfigError(
            f"'{spec.name}' {told}; the model gives {new.dim} of {new.element} under {new.metric}: they do not mix.",
            hint="With missing: true, name the model that made the other vectors, or make all anew: leave it out.",
        )
    return old


def _vector(step: ReEmbed, spec: CollectionSpec, dim: int) -> VectorSpec:
    """The new vector: in the place of the one that is named, or of the only dense one."""
    dense = [vector for vector in spec.vectors if vector.kind is VectorKind.DENSE]
    name = step.vector if step.vector is not None else dense[0].name if len(dense) == 1 else None
    if name is None and dense:
        raise ConfigError(
            f"'{spec.name}' has the vectors {', '.join(vector.name or '(unnamed)' for vector in dense)}.",
            hint="Say which one is made anew: re_embed: {vector: NAME, …}.",
        )
    name = name or UNNAMED
    old = next((vector for vector in dense if vector.name == name), None)
    return VectorSpec(name=name, dim=dim, metric=step.metric or (old.metric if old else Metric.COSINE))
