"""One embedded Qdrant folder: ours, or bare shards of the edge engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from vecferry import catalog
from vecferry.connectors.qdrant._codec.form import Form
from vecferry.connectors.qdrant._codec.settings import vectors
from vecferry.connectors.qdrant._codec.wishes import configured
from vecferry.connectors.qdrant.embedded.engine import engine
from vecferry.connectors.qdrant.embedded.folder import LOCK, MANIFEST, SHARD, Entry, Folder, version
from vecferry.connectors.qdrant.embedded.limits import EMBEDDED
from vecferry.connectors.qdrant.embedded.sink import EmbeddedSink
from vecferry.connectors.qdrant.embedded.source import EmbeddedSource
from vecferry.errors import ConfigError, CorruptData, NotFound
from vecferry.layouts.detect import detect_payloads
from vecferry.limits import Limits
from vecferry.model import CollectionSpec, IdKind, StoreIdentity

_SAMPLE = 100
"""Records of somebody else's collection that are looked at to learn its layout."""


def open_embedded(path: Path) -> EmbeddedDatabase:
    """The database in folder `path`; one that is not there, or is empty, is a database without collections.

    Raises:
        ConfigError: a file, or the extra is missing. NotFound: a folder with something else in it.
    """
    if path.exists() and not path.is_dir():
        raise ConfigError(
            f"{path} is a file.", hint="qdrant:PATH names a folder; for a server, write qdrant+http://HOST:6333."
        )
    if path.is_dir() and not _ours(path):
        raise _something_else(path)
    engine()
    return EmbeddedDatabase(Folder.acquire(path))


class EmbeddedDatabase:
    """One folder. Looking at it writes nothing; it is locked and its engine started when a record is asked for."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._store = f"qdrant:{folder.path}"
        self._described: dict[str, CollectionSpec] = {}
        self._closed = False

    @property
    def identity(self) -> StoreIdentity:
        return StoreIdentity(kind="qdrant", where=str(self._folder.path), version=version(), transport="embedded")

    @property
    def limits(self) -> Limits:
        return EMBEDDED

    def collections(self) -> list[CollectionSpec]:
        return [self._describe(name) for name in self._folder.entries()]

    def source(self, name: str) -> EmbeddedSource:
        names = {entry: _path(entry, found) for entry, found in self._folder.entries().items()}
        chosen = catalog.find(names.values(), name, store=self._store)
        key = next(entry for entry, path in names.items() if path == chosen)
        return EmbeddedSource(self._form(key), lambda: self._describe(key), lambda: self._folder.shard(key))

    def sink(self, spec: CollectionSpec) -> EmbeddedSink:
        return EmbeddedSink(spec, self._folder, self._store)

    def configured(self, spec: CollectionSpec) -> CollectionSpec:
        return configured(spec)

    def drop(self, name: str) -> None:
        self._described.pop(name, None)
        self._folder.drop(name)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._folder.release()

    def _describe(self, name: str) -> CollectionSpec:
        entry = self._folder.entry(name)
        if entry is None:
            raise catalog.gone(name, store=self._store)
        spec = entry.spec or self._foreign(name, entry)
        return replace(spec, count=self._folder.count(name))

    def _form(self, name: str) -> Form:
        entry = self._folder.entries()[name]
        if entry.spec is not None:
            return Form(entry.spec)
        spec = self._foreign(name, entry)
        return Form(spec, foreign_layout=spec.layout)

    def _foreign(self, name: str, entry: Entry) -> CollectionSpec:
        """The spec of a shard that somebody else made, with the layout of its payloads."""
        if name not in self._described:
            path = self._folder.shard_path(entry)
            sample = self._folder.shard(name).scroll(start=None, limit=_SAMPLE)
            layout = detect_payloads([point.payload or {} for point in sample])
            spec = CollectionSpec(name=name, id_kind=IdKind.MIXED, vectors=vectors(_configuration(path)), layout=layout)
            self._described[name] = spec
        return self._described[name]


def _path(name: str, entry: Entry) -> tuple[str, ...]:
    return (name,) if entry.spec is None else (*entry.spec.namespace, entry.spec.name)


def _configuration(shard: Path) -> Mapping[str, Any]:
    try:
        config: Mapping[str, Any] = orjson.loads((shard / SHARD).read_bytes())
        return config
    except (OSError, orjson.JSONDecodeError) as error:
        raise CorruptData(
            f"The configuration of the shard in {shard} cannot be read: {error}.",
            hint="Restore the folder from a backup, or write the collection again from its source.",
        ) from error


def _ours(path: Path) -> bool:
    inside = {child.name for child in path.iterdir()}
    if not inside or inside & {LOCK, MANIFEST, SHARD}:
        return True
    return any((path / one / SHARD).is_file() for one in inside)


def _something_else(path: Path) -> NotFound:
    inside = {child.name for child in path.iterdir()}
    if "chroma.sqlite3" in inside:
        hint = f"It is a Chroma directory: write chroma:{path}."
    elif "raft_state.json" in inside or {"collections", "aliases"} <= inside:
        hint = "It is the storage of a Qdrant server: start the server on it and write qdrant+http://HOST:6333."
    else:
        hint = "Name a folder that vecferry, qdrant-edge or QdrantClient(path=…) made, or an empty or new one."
    return NotFound(f"{path} is not an embedded Qdrant folder.", store=f"qdrant:{path}", hint=hint)
