"""The hostile data set that travels between every two forms of store, and what a journey may do to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import vecferry
from vecferry.arrow import from_records, to_records
from vecferry.connectors.memory import LIMITS
from vecferry.limits import Shape
from vecferry.migration.settings import Settings
from vecferry.model import CollectionSpec, IdKind, Metric, Record, VectorSpec
from vecferry.planning.model import Cell, IfExists, Policy, Verdict
from vecferry.planning.options import PlanOptions
from vecferry.testing.contracts.cases import plain_records, shaped_records
from vecferry.testing.contracts.compare import same

NAME = "hostile"
SIZE = 300
SPEC = CollectionSpec(name=NAME, id_kind=IdKind.TEXT, vectors=(VectorSpec(dim=8, metric=Metric.COSINE),))
_LOST = (Verdict.LOSSY, Verdict.IMPOSSIBLE)


def hostile_records() -> list[Record]:
    """One record for everything that a store may do to a record, and ordinary ones beside them."""
    odd = shaped_records(LIMITS, SPEC, sink=True)
    plain = plain_records(SPEC, SIZE, unit=False)
    taken = {record.id for record in odd}
    records = odd + [record for record in plain if record.id not in taken][: SIZE - len(odd)]
    return [replace(record, seq=number) for number, record in enumerate(records)]


def seed(url: str, records: Sequence[Record]) -> None:
    """Put the records into a memory store."""
    with closing(vecferry.open_database(url)) as database, closing(database.sink(SPEC)) as sink:
        sink.prepare(SPEC)
        sink.write(from_records(SPEC, records))
        sink.finish()


@dataclass(frozen=True, slots=True)
class Leg:
    """One journey from store to store: what its plan named, and what it left out."""

    cells: tuple[Cell, ...]

    @property
    def lost(self) -> dict[str, int]:
        """Shape -> records, of the losses that the plan named."""
        return {cell.shape: cell.count for cell in self.cells if cell.verdict in _LOST and cell.count}

    @property
    def left_out(self) -> int:
        """How many records the plan said that it would leave out, at most: one record may stand in several cells."""
        return sum(cell.count for cell in self.cells if cell.policy is Policy.QUARANTINE)

    @property
    def rounds_vectors(self) -> bool:
        """True where the plan named vectors that come back within one step of their number type."""
        restored = (cell for cell in self.cells if cell.verdict is Verdict.RESTORABLE and cell.count)
        return any(cell.shape == Shape.COSINE_LENGTH for cell in restored)


def move(source: str, target: str, name: str, *, to: str, room: Path) -> Leg:
    """Move the collection `name` of `source` into `target`, where it is called `to`; named losses are accepted."""
    options = PlanOptions(collections=(f"{name}={to}",), if_exists=IfExists.REFUSE)
    cells = vecferry.plan(source, target, options=options).collections[0].cells
    policies = {cell.shape: _policy(cell) for cell in cells if cell.verdict in _LOST}
    settings = Settings(plan=replace(options, policies=policies), ledger=str(room / "ledger.db"), reports=None)
    done = vecferry.migrate(source, target, settings=settings)
    assert done.differences == 0, f"{source} to {target}: {done.verification}"
    return Leg(done.plan.collections[0].cells)


def _policy(cell: Cell) -> Policy:
    return Policy.QUARANTINE if Policy.QUARANTINE in cell.choices else Policy.CONVERT


def records_in(url: str, name: str) -> list[Record]:
    """Every record of a collection, in the order of the source, as the store's own reader gives it."""
    with closing(vecferry.open_database(url)) as database, closing(database.source(name)) as source:
        spec = source.describe()
        chunks = (chunk for partition in source.partitions() for chunk in source.read(partition))
        records = [record for chunk in chunks for record in to_records(chunk.batch, spec)]
    return sorted(records, key=lambda record: (record.seq is None, record.seq or 0))


# --------------------------------------------------------------------------- what came back


@dataclass(slots=True)
class Outcome:
    """What a journey there and back did to the records.

    Attributes:
        missing: ids that did not come back.
        changed: field -> records in which it is another than before.
        steps: by how many steps of float32 the worst component of any vector is off.
        out_of_order: True where records that came back did so in another order.
    """

    missing: list[str] = field(default_factory=list)
    changed: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    out_of_order: bool = False
    examples: list[str] = field(default_factory=list)


def compare(before: Sequence[Record], after: Sequence[Record]) -> Outcome:
    """What is different in `after`, field by field."""
    found = {record.id: record for record in after}
    outcome = Outcome(missing=[record.id for record in before if record.id not in found])
    outcome.changed["extra"] = len(found.keys() - {record.id for record in before})
    for old in before:
        if old.id in found:
            _compare(old, found[old.id], outcome)
    kept = [record.id for record in before if record.id in found]
    outcome.out_of_order = kept != [record.id for record in after]
    outcome.changed += Counter()  # drops zeros
    return outcome


def _compare(old: Record, new: Record, outcome: Outcome) -> None:
    for name in ("id_kind", "document", "uri", "metadata"):
        if not same(getattr(old, name), getattr(new, name)):
            outcome.changed[name] += 1
            outcome.examples.append(f"{old.id!r} {name}: {getattr(old, name)!r:.80} became {getattr(new, name)!r:.80}")
    if same(old.vectors, new.vectors):
        return
    steps = _steps(old.vectors.get(""), new.vectors.get(""))
    if steps is not None:
        outcome.steps = max(outcome.steps, steps)
    else:
        outcome.changed["vector"] += 1
        outcome.examples.append(f"{old.id!r} vector: {old.vectors!r:.120} became {new.vectors!r:.120}")


def _steps(old: Any, new: Any) -> int | None:
    """How many float32 lie between two vectors where they differ most; None where they are of different forms."""
    if not isinstance(old, np.ndarray) or not isinstance(new, np.ndarray) or old.shape != new.shape:
        return None
    if (np.signbit(old) != np.signbit(new)).any():
        return None
    # Floats of one sign are in the order of their bits.
    return int(np.abs(old.view(np.int32).astype(np.int64) - new.view(np.int32)).max())
