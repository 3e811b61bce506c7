"""Steps made ready for one collection: each knows the spec that comes in, and says the spec that goes out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Protocol

import pyarrow as pa

from vecferry.filters.where import parse_where
from vecferry.model import CollectionSpec, Rejection
from vecferry.transforms import keys
from vecferry.transforms.casting import cast
from vecferry.transforms.embedder import Embedders
from vecferry.transforms.keep import Keep
from vecferry.transforms.model import Step
from vecferry.transforms.re_embed import Embedded
from vecferry.transforms.rows import Change, Rows

_ALONE = frozenset({"filter", "re_embed"})
"""Steps that look at whole batches; the others change one record at a time, and neighbours share a pass."""


class Transform(Protocol):
    """One change of a collection. Thread-safe; the same batch always gives the same result."""

    @property
    def spec(self) -> CollectionSpec:
        """Describes the batches that come out."""
        ...

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, tuple[Rejection, ...]]:
        """(records that go on, changed; records that it cannot be done on) of one canonical batch.

        Raises:
            Unavailable, Throttled: a model does not answer; the same batch may be given again.
        """
        ...


class Chain:
    """Several steps, one after the other.

    Attributes:
        spec: describes the batches that come out.
        new_ids: the records are called otherwise than in the source.
        mends: records whose vector does not fit get a new one.
    """

    def __init__(self, steps: Sequence[Step], spec: CollectionSpec, embedders: Embedders) -> None:
        self.spec = spec
        self.new_ids = any(step.ids is not None for step in steps)
        self.mends = any(step.re_embed is not None and step.re_embed.missing for step in steps)
        self._transforms: list[Transform] = []
        for kind, group in groupby(steps, lambda step: step.kind if step.kind in _ALONE else ""):
            for transform in _made(kind, list(group), self.spec, spec.name, embedders):
                self._transforms.append(transform)
                self.spec = transform.spec

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, tuple[Rejection, ...]]:
        """See `Transform.apply`."""
        aside: tuple[Rejection, ...] = ()
        for transform in self._transforms:
            batch, more = transform.apply(batch)
            aside += more
        return batch, aside


def _made(
    kind: str, steps: Sequence[Step], spec: CollectionSpec, name: str, embedders: Embedders
) -> Sequence[Transform]:
    """The transforms of neighbouring steps of one kind."""
    if not kind:
        changes = [_change(step) for step in steps]
        for step in steps:
            spec = _after(step, spec)
        return [Rows(changes, spec, name)]
    found: list[Transform] = []
    for step in steps:
        one: Transform
        if step.re_embed is not None:
            one = Embedded(step.re_embed, spec, embedders)
        else:
            one = Keep(parse_where(step.filter), spec)
        found.append(one)
        spec = one.spec
    return found


def _change(step: Step) -> Change:
    if step.rename is not None:
        return keys.rename(step.rename)
    if step.drop is not None:
        return keys.drop(step.drop)
    if step.cast is not None:
        return cast(step.cast)
    if step.constant is not None:
        return keys.constant(step.constant)
    if step.compute is not None:
        return keys.compute(step.compute)
    return keys.ids(step.ids or "")


def _after(step: Step, spec: CollectionSpec) -> CollectionSpec:
    if step.rename is not None:
        return keys.renamed(spec, step.rename)
    if step.drop is not None:
        return keys.without(spec, step.drop)
    if step.cast is not None:
        return keys.without(spec, tuple(step.cast))
    return keys.text_ids(spec) if step.ids is not None else spec
