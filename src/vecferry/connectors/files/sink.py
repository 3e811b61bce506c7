"""The writing side of an archive: every confirmed batch is a part file that a journal line names."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from uuid import uuid4

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecferry.arrow import split, validate
from vecferry.catalog import fit
from vecferry.connectors.files._codec import (
    PART_BYTES,
    Part,
    Removed,
    digest_sum,
    folder_name,
    from_parquet,
    to_hex,
    to_parquet,
)
from vecferry.connectors.files._manifest import (
    LOCK,
    MANIFEST,
    Listed,
    State,
    append_journal,
    change_archive,
    collection_name,
    journal_name,
    read_archive,
    read_state,
    write_state,
)
from vecferry.connectors.files.source import load, superseded_rows
from vecferry.errors import DataError, NotFound
from vecferry.model import CollectionSpec, Receipt
from vecferry.objects.disk import TEMPORARY
from vecferry.objects.place import Place

_REMOVED_IDS = 10_000
_OURS = ("part-", "collection-", "journal-", TEMPORARY)


class FilesSink:
    """Writes one collection of an archive.

    Guarantee: when `write` returns, the batch is in a part file and a line of the journal, both synced to the disk; a
    process killed before that has written nothing. A batch that is written again supersedes its first copy: readers
    leave that out at once, and `finish` removes it from the files. Several threads and processes may write.

    The trap: `finish` waits for writers, and writers for `finish`; locks are taken in the order collection, archive.
    """

    def __init__(self, root: Place, spec: CollectionSpec, *, store: str) -> None:
        self._root = root
        self._store = store
        self._path = (*spec.namespace, spec.name)
        self._state: State | None = None
        self._numbers = count()
        self._pool = ThreadPoolExecutor(thread_name_prefix="vecferry-files")

    # ----------------------------------------------------------------------- the contract

    def prepare(self, spec: CollectionSpec) -> CollectionSpec:
        self._path = (*spec.namespace, spec.name)
        self._root.make()
        with self._root.locked(LOCK):
            listed = self._listed() or self._create(spec)
        with self._root.below(listed.folder).locked(LOCK):
            state = self._load()
            vectors = fit(state.spec, spec, store=self._store)
            if vectors != state.spec.vectors and not state.rows:
                state = self._commit(replace(state, spec=replace(state.spec, vectors=vectors)))
            self._state, self._numbers = state, count(len(state.entries))
        return replace(state.spec, count=None if state.journal else state.rows)

    def write(self, batch: pa.RecordBatch) -> Receipt:
        state = self._prepared()
        validate(batch, state.spec)
        if not batch.num_rows:
            return Receipt(rows=0, bytes=0)
        with state.place.locked(LOCK, shared=True):
            state = self._current()
            pieces = split(batch, max_rows=batch.num_rows, max_bytes=PART_BYTES)
            parts = [self._write_part(state, piece) for piece in pieces]
            append_journal(state, parts)
        return Receipt(rows=batch.num_rows, bytes=sum(part.bytes for part in parts))

    def finish(self) -> None:
        """Fold the journal into the manifest, without the rows that were superseded. Waits for writers."""
        with self._prepared().place.locked(LOCK):
            state = self._load()
            if state.journal:
                state = self._commit(replace(state, parts=self._folded(state), journal=()))
            _sweep(state)
            self._state = state

    def close(self) -> None:
        self._pool.shutdown()

    def delete(self, ids: Sequence[str]) -> None:
        state = self._prepared()
        with state.place.locked(LOCK, shared=True):
            starts = range(0, len(ids), _REMOVED_IDS)
            append_journal(self._current(), [Removed(removed=tuple(ids[n : n + _REMOVED_IDS])) for n in starts])

    # ----------------------------------------------------------------------- state

    def _prepared(self) -> State:
        if self._state is None:
            raise DataError(
                f"{'/'.join(self._path)} was not prepared.", hint="Call prepare(spec) before the first write."
            )
        return self._state

    def _current(self) -> State:
        """The state to write on top of; another process may have finished the collection since. Under the lock."""
        state = self._prepared()
        if not state.place.exists(collection_name(state.generation)):
            state = self._state = self._load()
        return state

    def _listed(self) -> Listed | None:
        return next((listed for listed in read_archive(self._root) if listed.path == self._path), None)

    def _load(self) -> State:
        listed = self._listed()
        if listed is None:
            raise NotFound(
                f"{'/'.join(self._path)} was dropped from {self._store} while it was written.",
                store=self._store,
                hint="Run the same command again; it makes the collection anew.",
            )
        return read_state(self._root, listed)

    def _create(self, spec: CollectionSpec) -> Listed:
        """An empty collection, listed. What a dropped one of the same name left behind goes first."""
        if not self._root.exists(MANIFEST):
            change_archive(self._root, lambda there: there)
        place = self._root.below(folder_name(self._path))
        place.remove_all()
        place.make()
        empty = State(place, 1, replace(spec, uid=str(uuid4()), count=None), (), ())
        listed = write_state(empty)
        change_archive(self._root, lambda there: _with(there, listed))
        return listed

    def _commit(self, state: State) -> State:
        """Make `state` the collection's next generation. Under the collection's lock."""
        state = replace(state, generation=state.generation + 1)
        listed = write_state(state)
        with self._root.locked(LOCK):
            change_archive(self._root, lambda there: _with(there, listed))
        return state

    # ----------------------------------------------------------------------- part files

    def _write_part(self, state: State, batch: pa.RecordBatch) -> Part:
        """One part file, durable, that nothing names yet. The digest is computed while Parquet is encoded."""
        digest = self._pool.submit(digest_sum, batch, state.spec)
        data = to_parquet(batch, state.spec)
        name = f"part-{next(self._numbers):08}-{uuid4().hex[:8]}.parquet"
        state.place.write(name, memoryview(data))
        return Part(
            file=name,
            rows=batch.num_rows,
            bytes=data.size,
            sha256=hashlib.sha256(data).hexdigest(),
            digest=to_hex(digest.result()),
        )

    def _folded(self, state: State) -> tuple[Part, ...]:
        """The part files without superseded rows; only files that hold such rows are written anew."""
        dead = superseded_rows(state)
        parts = [entry for entry in state.entries if isinstance(entry, Part)]
        kept = (self._rewritten(state, part, dead[part.file]) if part.file in dead else part for part in parts)
        return tuple(part for part in kept if part is not None)

    def _rewritten(self, state: State, part: Part, dead: NDArray[np.int64]) -> Part | None:
        live = np.setdiff1d(np.arange(part.rows), dead, assume_unique=True)
        if not len(live):
            return None
        batches = list(from_parquet(load(state.place, part), state.spec, rows=part.rows))
        return self._write_part(state, pa.concat_batches(batches).take(pa.array(live)))


def _with(there: Sequence[Listed], listed: Listed) -> list[Listed]:
    """`there`, in which `listed` stands for its collection."""
    return [*(one for one in there if one.path != listed.path), listed]


def _sweep(state: State) -> None:
    """Remove what no manifest names: superseded parts, older generations, files of killed writers."""
    named = {part.file for part in state.parts} | {LOCK, collection_name(state.generation)}
    journal = journal_name(state.generation).removesuffix(".jsonl")  # in a bucket it is several objects
    state.place.remove(
        name
        for name in state.place.names()
        if name not in named and not name.startswith(journal) and name.startswith(_OURS)
    )
