"""`repair`: write again what is missing or changed, from the source, and verify once more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import pyarrow as pa

from vecferry.arrow import split
from vecferry.engine.crew import may_split
from vecferry.engine.stop import Stop
from vecferry.errors import NotFound, VecferryError
from vecferry.events import Observer, Progress, Stage, silent
from vecferry.model import IdKind, Receipt
from vecferry.protocols import Database, Deletable, Fetchable, Sink, require
from vecferry.verification.data import Changed
from vecferry.verification.diff import BucketDiff, compare
from vecferry.verification.elsewhere import Helper
from vecferry.verification.lookup import AT_ONCE, batches_by_id
from vecferry.verification.model import CollectionRepair, RepairResult, VerifyOptions
from vecferry.verification.passes import Absent, Both, Pass
from vecferry.verification.run import Pair, verify

_BATCH_BYTES = 4 << 20
_MOST_WAITING = 500_000
"""Ids held for one scan of a source that finds no records by id: some 50 MB."""


def repair(
    source_db: Database,
    target_db: Database,
    pairs: Sequence[Pair],
    *,
    delete_extra: bool = False,
    options: VerifyOptions | None = None,
    observer: Observer = silent,
    stop: Stop | None = None,
) -> RepairResult:
    """Compare anew, write every missing or changed record again, and verify.

    Trusts no earlier verification, so it repairs all differences and not only those that one listed. Writes are full
    replaces: interrupted anywhere, the same call goes on, and where nothing differs it writes nothing. Records that
    stand only in the target are counted, and removed only with `delete_extra`. Those that the target does not take are
    listed, and all others are written. What is added may stand at the end: another order is told, and no difference.

    Raises:
        NotFound: a collection is missing as a whole; `migrate` moves it.
        Unsupported: `delete_extra`, and the target cannot delete.
        Interrupted, ConnectorError, DataError: what was written until then is right.
    """
    options, stop = options or VerifyOptions(), stop or Stop()
    with Helper(target_db) as helper:
        both = Both(source_db, target_db, options, observer, stop, helper)
        done = tuple(mend(both, pair, delete_extra=delete_extra) for pair in pairs)
        options = replace(options, reordered=options.reordered | {target for _, target in pairs})
        after = verify(source_db, target_db, pairs, options=options, observer=observer, stop=stop, helper=helper)
    return RepairResult(collections=done, after=after)


def mend(both: Both, pair: Pair, *, delete_extra: bool) -> CollectionRepair:
    """`repair` of one collection, without the verification that follows. Raises what `repair` raises."""
    with both.open(pair) as one:
        return _repair(one, both.target, pair, delete_extra=delete_extra)


def _repair(one: Pass, target_db: Database, pair: Pair, *, delete_extra: bool) -> CollectionRepair:
    if isinstance(one.target, Absent):
        raise NotFound(f"The target has no collection '{pair[1]}'.", hint="Move it first: vecferry migrate.")
    one.scan()
    work = Work(one, target_db)
    try:
        for diff in compare(one.left, one.right):
            work.take(diff, delete_extra=delete_extra)
        work.finish()
    finally:
        work.close()
    return CollectionRepair(
        source=pair[0],
        target=pair[1],
        rewritten=work.rewritten,
        deleted=work.deleted,
        extra_left=work.extra_left,
        set_aside=len(one.set_aside),
        refused=work.refused,
    )


class Work:
    """The repair of one collection. The sink is opened by the first difference, so that equal stores stay untouched."""

    def __init__(self, one: Pass, target_db: Database) -> None:
        self._one, self._target_db = one, target_db
        self._changed = Changed(one)
        self._sink: Sink | None = None
        self._waiting: list[str] = []
        self.rewritten = self.deleted = self.extra_left = 0
        self.refused: dict[str, str] = {}

    def take(self, diff: BucketDiff, *, delete_extra: bool) -> None:
        """Repair one bucket, or note it where the source can only be read as a whole."""
        ids = self._one.left.texts_of(diff.missing)
        ids += self._changed.ids(diff.changed)
        ids += self._one.right.texts_of(diff.again)  # whatever else the store shows under this id goes with it
        self.write(ids)
        if not delete_extra:
            self.extra_left += len(diff.extra)
            return
        extra = self._one.right.texts_of(diff.extra)
        self._delete(extra)
        if self._one.target_spec.id_kind is IdKind.MIXED:  # the number 1 does not go without the text "1"
            self.write(extra)

    def write(self, ids: Sequence[str]) -> None:
        """Write those of these records that the source has."""
        if isinstance(self._one.source, Fetchable):
            self._rewrite(ids)
        else:
            self._wait(ids)

    def _wait(self, ids: Sequence[str]) -> None:
        """Keep `ids` until enough of them are worth one more scan of the source."""
        self._waiting += ids
        if len(self._waiting) >= _MOST_WAITING:
            waiting, self._waiting = self._waiting, []
            self._rewrite(waiting)

    def finish(self) -> None:
        """Write what waited for a scan of the source, and build what the sink deferred."""
        self._rewrite(self._waiting)
        if self._sink is not None:
            self._sink.finish()

    def close(self) -> None:
        if self._sink is not None:
            self._sink.close()

    def _rewrite(self, ids: Sequence[str]) -> None:
        if not ids:
            return
        sink = self._open()
        for found in batches_by_id(self._one.source, ids, self._one.tries):
            for batch in split(self._one.wanted(found), max_rows=AT_ONCE, max_bytes=_BATCH_BYTES):
                self._send(sink, batch)

    def _send(self, sink: Sink, batch: pa.RecordBatch) -> None:
        """Write `batch`, in halves where the target refuses it as it is, down to the record that is at fault."""
        try:
            receipt = self._one.tries.call("writing", partial(sink.write, batch))
        except VecferryError as error:
            if not may_split(error):
                raise
            if batch.num_rows == 1:
                self.refused[batch.column("id")[0].as_py()] = error.message
                return
            half = batch.num_rows // 2
            self._send(sink, batch.slice(0, half))
            self._send(sink, batch.slice(half))
            return
        self.rewritten += receipt.rows
        self._tell(receipt)
        self.refused |= {rejection.id: rejection.reason for rejection in receipt.rejected}

    def _tell(self, receipt: Receipt) -> None:
        name = self._one.name
        self._one.observer(Progress(stage=Stage.COPY, collection=name, records=receipt.rows, bytes=receipt.bytes))

    def _delete(self, ids: Sequence[str]) -> None:
        if not ids:
            return
        power = require(self._open(), Deletable, operation="remove records", instead="Remove them by hand.")
        for some in _parts(ids):
            self._one.tries.call("removing", partial(power.delete, some))
            self.deleted += len(some)

    def _open(self) -> Sink:
        if self._sink is None:
            one = self._one
            spec = one.options.promised.get(one.target_name, one.target_spec)
            self._sink = self._target_db.sink(spec)
            self._sink.prepare(spec)
        return self._sink


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE))
