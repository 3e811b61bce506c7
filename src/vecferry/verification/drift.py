"""How far a target has drifted from its source: what a synchronisation would write, counted before it writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vecferry.engine.stop import Stop
from vecferry.events import Observer, Stage, StageFinished, StageStarted, silent
from vecferry.protocols import Database
from vecferry.verification.data import Changed
from vecferry.verification.diff import compare
from vecferry.verification.elsewhere import Helper
from vecferry.verification.model import VerifyOptions
from vecferry.verification.passes import Both, Pass
from vecferry.verification.run import Pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One collection, compared.

    Attributes:
        records: in the source, without those that the plan sets aside.
        added: of them, those that the target lacks; changed: those that are not the same there, or there twice.
        extra: records that only the target has.
    """

    source: str
    target: str
    records: int
    added: int
    changed: int
    extra: int

    @property
    def writes(self) -> int:
        """Records that a synchronisation writes."""
        return self.added + self.changed

    def idle(self, *, delete: bool) -> bool:
        """Is there nothing to write, nor (with `delete`) to delete?"""
        return not self.writes and not (delete and self.extra)


def drift(
    source_db: Database,
    target_db: Database,
    pairs: Sequence[Pair],
    *,
    options: VerifyOptions | None = None,
    observer: Observer = silent,
    stop: Stop | None = None,
) -> tuple[Drift, ...]:
    """Compare every record of each pair and count what differs. Changes nothing; memory as `verify`.

    Raises:
        NotFound: the source has no such collection.
        Interrupted: `stop` was set.
        ConnectorError, DataError: a side cannot be read.
    """
    found = []
    with Helper(target_db) as helper:
        both = Both(source_db, target_db, options or VerifyOptions(), observer, stop or Stop(), helper)
        for pair in pairs:
            with both.open(pair) as one:
                observer(StageStarted(stage=Stage.VERIFY, collection=one.name, records=one.source_spec.count))
                found.append(_drift(one, pair))
                records = one.left.records
                observer(StageFinished(stage=Stage.VERIFY, collection=one.name, records=records))
    return tuple(found)


def _drift(one: Pass, pair: Pair) -> Drift:
    one.scan()
    changed, added, extra, differ = Changed(one), 0, 0, 0
    for diff in compare(one.left, one.right):
        added += len(diff.missing)
        extra += len(diff.extra)
        differ += changed.count(diff.changed) + len(diff.again)
    return Drift(source=pair[0], target=pair[1], records=one.left.records, added=added, changed=differ, extra=extra)
