"""The writing side of a JSON file: every confirmed batch is an entry of its journal, which `finish` folds into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import RLock
from uuid import uuid4

import pyarrow as pa

from vecferry.arrow import validate
from vecferry.catalog import fit
from vecferry.connectors.json import _own
from vecferry.connectors.json._fold import Content, contents, replace_file
from vecferry.connectors.json._journal import Journal
from vecferry.connectors.json._text import Text
from vecferry.errors import AlreadyExists, DataError, NotFound
from vecferry.model import CollectionSpec, Receipt


class JsonSink:
    """Writes one collection of a file.

    Guarantee: when `write` returns, the batch is in the journal beside the file, synced to the disk; a process killed
    before that has written nothing. The file itself is only ever replaced whole, by `finish`. Several threads and
    processes may write. The trap: until `finish`, other programs see the file without what the journal holds.
    """

    def __init__(self, path: Path, spec: CollectionSpec, *, lines: bool, store: str) -> None:
        self._path, self._lines, self._store = path, lines, store
        self._journal = Journal(path)
        self._name = (*spec.namespace, spec.name)
        self._spec: CollectionSpec | None = None
        self._lock = RLock()

    def prepare(self, spec: CollectionSpec) -> CollectionSpec:
        """See `Sink.prepare`.

        Raises:
            AlreadyExists: the file is there, and not one of ours.
        """
        self._name = (*spec.namespace, spec.name)
        check_ours(self._path, store=self._store)
        with self._lock, self._journal.locked() as file:
            there = read(self._path, self._journal).get(self._name)
            if there is None:
                made = replace(spec, uid=str(uuid4()), count=None)
            else:
                made = replace(there.spec, vectors=fit(there.spec, spec, store=self._store), count=None)
            if there is None or made.vectors != there.spec.vectors:
                self._journal.append(file, {"op": "make", "collection": self._name, "spec": _own.spec_to_json(made)})
            self._spec = made
            written = there is not None and bool(there.entries)
            rows = there.found.rows if there is not None and there.found is not None else 0
            return replace(made, count=None if written else rows)

    def write(self, batch: pa.RecordBatch) -> Receipt:
        spec = self._prepared()
        validate(batch, spec)
        if not batch.num_rows:
            return Receipt(rows=0, bytes=0)
        payload = b"".join(_own.encode(batch, spec))
        with self._lock, self._journal.locked() as file:
            self._journal.append(file, {"op": "write", "collection": self._name, "count": batch.num_rows}, payload)
        return Receipt(rows=batch.num_rows, bytes=len(payload))

    def finish(self) -> None:
        """Make the file anew from what it held and the journal, without records that were superseded."""
        self._prepared()
        with self._lock, self._journal.locked():
            fold(self._path, self._journal, lines=self._lines)

    def delete(self, ids: Sequence[str]) -> None:
        self._prepared()
        with self._lock, self._journal.locked() as file:
            self._journal.append(file, {"op": "remove", "collection": self._name, "ids": list(ids)})

    def close(self) -> None:
        """Nothing is held; what was written and not finished stays in the journal."""

    def _prepared(self) -> CollectionSpec:
        if self._spec is None:
            raise DataError(
                f"{'/'.join(self._name)} was not prepared.", hint="Call prepare(spec) before the first write."
            )
        return self._spec


def check_ours(path: Path, *, store: str) -> None:
    """Make sure that a file that is there is one of ours.

    Raises:
        AlreadyExists: it is not.
    """
    try:
        text = Text(path)
    except NotFound:
        return
    try:
        if not _own.is_ours(text):
            raise AlreadyExists(
                f"{path} is there, and vecferry did not write it.",
                store=store,
                hint="Name another file, or move that one away.",
            )
    finally:
        text.close()


def read(path: Path, journal: Journal) -> dict[tuple[str, ...], Content]:
    """What file and journal hold together. Under the journal's lock; the file itself is closed again."""
    text = _text(path)
    try:
        return contents(_own.index(text) if text is not None else [], journal.entries())
    finally:
        if text is not None:
            text.close()


def _text(path: Path) -> Text | None:
    try:
        return Text(path)
    except NotFound:
        return None


def fold(path: Path, journal: Journal, *, lines: bool, without: tuple[str, ...] | None = None) -> None:
    """Fold the journal into the file, leaving out the collection `without`. Under the journal's lock."""
    entries = journal.entries()
    if entries or without is not None:
        text = _text(path)
        try:
            made = contents(_own.index(text) if text is not None else [], entries)
            replace_file(path, [one for one in made.values() if one.path != without], journal, lines=lines)
        finally:
            if text is not None:
                text.close()
    journal.remove()
