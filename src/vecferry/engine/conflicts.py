"""Appending to a collection that holds records already: refuse colliding ids, or leave those records alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import islice

import pyarrow as pa

from vecferry.errors import IdCollision, NotFound
from vecferry.planning.model import CollectionPlan, IfExists, OnConflict
from vecferry.planning.targets import place
from vecferry.protocols import Countable, Database, Existing, Source, require

_SHOWN = 5
Leave = Callable[[pa.RecordBatch], pa.RecordBatch]
"""A batch without the records that the target shall keep as it has them."""


def is_fresh(plan: CollectionPlan, target: Database) -> bool:
    """True where the target collection holds nothing (or will be dropped first), so that no id can collide."""
    if plan.if_exists is not IfExists.APPEND:
        return True
    try:
        reader = target.source(plan.target.qualified_name)
    except NotFound:
        return True
    with closing(reader):
        found = reader.describe()
        if (found.namespace, found.name) != place(plan.target, target):  # a namesake, which is left alone
            return True
        return isinstance(reader, Countable) and reader.count() == 0


def refuse_collisions(plan: CollectionPlan, source: Source, target: Database) -> None:
    """Go through every id of the source once.

    Raises:
        IdCollision: the target has some of them already; names the first few.
        Unsupported: the target cannot say which ids it has.
    """
    with closing(target.source(plan.target.qualified_name)) as reader:
        found = list(islice(_collisions(plan, source, _existing(reader)), _SHOWN + 1))
    if found:
        raise IdCollision(
            f"'{plan.target.qualified_name}' holds records with ids that '{plan.source}' would write too: "
            f"{', '.join(found[:_SHOWN])}{', …' if len(found) > _SHOWN else ''}.",
            ids=found[:_SHOWN],
            hint="Choose --on-conflict replace or skip, or copy into a collection of another name.",
        )


def _collisions(plan: CollectionPlan, source: Source, target: Existing) -> Iterator[str]:
    for partition in plan.partitions:
        for chunk in source.read(partition):
            yield from sorted(target.existing(chunk.batch.column("id").to_pylist()))


@contextmanager
def leaving_alone(plan: CollectionPlan, target: Database, *, fresh: bool) -> Iterator[Leave]:
    """What of each batch is not in the target yet, for as long as the block lasts.

    A resumed run may find records that it wrote itself just before it died: they count as skipped, and are the same.
    """
    if fresh or plan.on_conflict is not OnConflict.SKIP:
        yield lambda batch: batch
        return
    with closing(target.source(plan.target.qualified_name)) as reader:
        power = _existing(reader)

        def leave(batch: pa.RecordBatch) -> pa.RecordBatch:
            ids = batch.column("id").to_pylist()
            there = power.existing(ids)
            return batch.filter(pa.array([ident not in there for ident in ids])) if there else batch

        yield leave


def _existing(reader: Source) -> Existing:
    return require(
        reader,
        Existing,
        operation="say which ids it holds already",
        instead="Append with --on-conflict replace, or copy into a new collection.",
    )
