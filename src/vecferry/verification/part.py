"""Some partitions of a collection, compared by themselves: each record fetched by its id from the target.

What it costs grows with the part, not with the target. Records that only the target has are not seen; the verification
of the whole sees them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from secrets import randbits

import pyarrow as pa

from vecferry.arrow import empty, split
from vecferry.digest import fingerprints
from vecferry.errors import DataError
from vecferry.model import Partition
from vecferry.protocols import Fetchable, require
from vecferry.verification.lookup import AT_ONCE
from vecferry.verification.passes import Both, Pass
from vecferry.verification.repair import Work
from vecferry.verification.run import Pair

_BYTES = 4 << 20
_NAMED = 3


def prove(both: Both, pair: Pair, partitions: Sequence[Partition]) -> int:
    """Compare every record of these partitions, write again what is missing or differs, and compare that once more.

    Returns how many records the target holds of them.

    Raises:
        DataError: records still differ, or the target refuses them; names the first.
        Unsupported: the target finds no records by their ids.
    """
    with both.open(pair) as one:
        part = _Part(one)
        held, wrong = part.compare(partitions)
        if not wrong:
            return held
        work = Work(one, both.target)
        try:
            work.write(wrong)
            work.finish()
        finally:
            work.close()
        held, wrong = part.compare(partitions)
    if wrong:
        named = ", ".join(wrong[:_NAMED]) + (" …" if len(wrong) > _NAMED else "")
        why = next((f": {reason}" for id_, reason in work.refused.items() if id_ in wrong), "")
        raise DataError(
            f"{len(wrong):,} records are missing in the target or differ ({named}){why}",
            ids=wrong[:_NAMED],
            hint="Look at them with vecferry verify; then run the same command again.",
        )
    return held


class _Part:
    """The comparison of one pass."""

    def __init__(self, one: Pass) -> None:
        self._one, self._seed = one, randbits(64)
        self._target = require(
            one.target,
            Fetchable,
            operation="find records by their ids",
            instead="Units can be moved into stores that do: Qdrant, PostgreSQL, MariaDB, Chroma.",
        )

    def compare(self, partitions: Sequence[Partition]) -> tuple[int, list[str]]:
        """(records of the source that the target is to hold, the ids of those that it does not give back)."""
        held = 0
        wrong: list[str] = []
        for chunk in self._one.tries.chunks(self._one.source, partitions):
            for batch in split(chunk.batch, max_rows=AT_ONCE, max_bytes=_BYTES):
                records, differing = self._differing(batch)
                held += records
                wrong += differing
        return held, wrong

    def _differing(self, batch: pa.RecordBatch) -> tuple[int, list[str]]:
        expected, spec = self._one.expected(batch)
        if not expected.num_rows:
            return 0, []
        ids: list[str] = expected.column("id").to_pylist()
        there = self._one.tries.call("fetching records", partial(self._target.fetch, list(dict.fromkeys(ids))))
        found, found_spec = self._one.found(there) if there.num_rows else (empty(spec), spec)
        keys, contents = fingerprints(found, found_spec, seed=self._seed)
        known = {key.tobytes(): content.tobytes() for key, content in zip(keys, contents, strict=True)}
        pairs = zip(ids, *fingerprints(expected, spec, seed=self._seed), strict=True)
        return len(ids), [id_ for id_, key, content in pairs if known.get(key.tobytes()) != content.tobytes()]
