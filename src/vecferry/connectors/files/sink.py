"""The writing side of an archive: every confirmed batch is a part file that a journal line names."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
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
from vecferry.objects.disk import TEMPORARY, locked, make_folder, write_atomic
from vecferry.connectors.files._manifest import (
    LOCK,
    MANIFEST,
    Listed,
    State,
    append_journal,
    collection_name,
    journal_name,
    read_archive,
    read_state,
    write_archive,
    write_state,
)
from vecferry.connectors.files.source import load, superseded_rows
from vecferry.errors import DataError, NotFound
from vecferry.model import CollectionSpec, Receipt

_REMOVED_IDS = 10_000


class FilesSink:
    """Writes one collection of an archive.

    Guarantee: when `write` returns, the batch is in a part file and a line of the journal, both synced to the disk; a
    process killed before that has written nothing. A batch that is written again supersedes its first copy: readers
    leave that out at once, and `finish` removes it from the files. Several threads and processes may write.

    The trap: `finish` waits for writers, and writers for `finish`; locks are taken in the order collection, archive.
    """

    def __init__(self, root: Path, spec: CollectionSpec, *, store: str) -> None:
        self._root = root
        self._store = store
        self._path = (*spec.namespace, spec.name)
        self._state: State | None = None
        self._numbers = count()
        self._pool = ThreadPoolExecutor(thread_name_prefix="vecferry-files")

    # ----------------------------------------------------------------------- the contract

    def prepare(self, spec: CollectionSpec) -> CollectionSpec:
        self._path = (*spec.namespace, spec.name)
        make_folder(self._root)
        with locked(self._root / LOCK):
            listed = self._listed() or self._create(spec)
        with locked(self._root / listed.folder / LOCK):
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
        with locked(state.folder / LOCK, shared=True):
            state = self._current()
            pieces = split(batch, max_rows=batch.num_rows, max_bytes=PART_BYTES)
            parts = [self._write_part(state, piece) for piece in pieces]
            append_journal(state, parts)
        return Receipt(rows=batch.num_rows, bytes=sum(part.bytes for part in parts))

    def finish(self) -> None:
        """Fold the journal into the manifest, without the rows that were superseded. Waits for writers."""
        folder = self._prepared().folder
        with locked(folder / LOCK):
            state = self._load()
            if state.journal:
                state = self._commit(replace(state, parts=self._folded(state), journal=()))
            _sweep(state)
            self._state = state

    def close(self) -> None:
        self._pool.shutdown()

    def delete(self, ids: Sequence[str]) -> None:
        state = self._prepared()
        with locked(state.folder / LOCK, shared=True):
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
        if not (state.folder / collection_name(state.generation)).exists():
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
        if not (self._root / MANIFEST).exists():
            write_archive(self._root, [])
        folder = self._root / folder_name(self._path)
        shutil.rmtree(folder, ignore_errors=True)
        make_folder(folder)
        empty = State(folder, 1, replace(spec, uid=str(uuid4()), count=None), (), ())
        listed = write_state(empty)
        write_archive(self._root, [*read_archive(self._root), listed])
        return listed

    def _commit(self, state: State) -> State:
        """Make `state` the collection's next generation. Under the collection's lock."""
        state = replace(state, generation=state.generation + 1)
        listed = write_state(state)
        with locked(self._root / LOCK):
            others = [other for other in read_archive(self._root) if other.path != listed.path]
            write_archive(self._root, [*others, listed])
        return state

    # ----------------------------------------------------------------------- part files

    def _write_part(self, state: State, batch: pa.RecordBatch) -> Part:
        """One part file, durable, that nothing names yet. The digest is computed while Parquet is encoded."""
        digest = self._pool.submit(digest_sum, batch, state.spec)
        data = to_parquet(batch, state.spec)
        name = f"part-{next(self._numbers):08}-{uuid4().hex[:8]}.parquet"
        write_atomic(state.folder / name, memoryview(data))
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
        batches = list(from_parquet(load(state.folder / part.file, part), state.spec, rows=part.rows))
        return self._write_part(state, pa.concat_batches(batches).take(pa.array(live)))


def _sweep(state: State) -> None:
    """Remove what no manifest names: superseded parts, older generations, files of killed writers."""
    named = {part.file for part in state.parts} | {
        LOCK,
        collection_name(state.generation),
        journal_name(state.generation),
    }
    _remove(file for file in state.folder.iterdir() if file.name not in named and _is_ours(file.name))


def _is_ours(name: str) -> bool:
    return name.startswith(("part-", "collection-", "journal-", TEMPORARY))


def _remove(files: Iterable[Path]) -> None:
    for file in list(files):
        with suppress(OSError):  # what stays is harmless, and the next `finish` tries again
            file.unlink()
