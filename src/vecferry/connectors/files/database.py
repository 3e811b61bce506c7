"""Archives, opened by URL: `files:DIR`, `files+s3://BUCKET/PREFIX`, `files+gs://BUCKET/PREFIX`.

A folder that does not exist yet is made by the first `prepare`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from vecferry.catalog import find, gone, named_in_full
from vecferry.connectors.files._codec import VERSION, corrupt
from vecferry.connectors.files._manifest import LOCK, MANIFEST, Listed, State, change_archive, read_archive, read_state
from vecferry.connectors.files.sink import FilesSink
from vecferry.connectors.files.source import FilesSource
from vecferry.errors import NotFound
from vecferry.limits import Limits, Shape
from vecferry.model import CollectionSpec, Element, IdKind, Metric, StoreIdentity, VectorKind
from vecferry.objects.place import open_place
from vecferry.url import StoreUrl

LIMITS = Limits(
    store="files",
    id_kinds=frozenset(IdKind),
    vector_kinds=frozenset(VectorKind),
    elements=frozenset(Element),
    metrics=frozenset(Metric),
    keeps=frozenset(Shape) - {Shape.NON_FINITE_VECTOR, Shape.WRONG_DIMENSION},
    restores=frozenset(),
    named_vectors=True,
)
_ATTEMPTS = 5


class FilesDatabase:
    """One archive. Nothing stays open between calls."""

    def __init__(self, url: StoreUrl) -> None:
        self._root = open_place(url)
        self._text = str(url)
        self._url = url if url.host is not None else replace(url, path=str(url.local_path))
        read_archive(self._root)

    @property
    def identity(self) -> StoreIdentity:
        return StoreIdentity(kind="files", where=self._root.where, version=str(VERSION), transport=self._root.transport)

    @property
    def limits(self) -> Limits:
        return LIMITS

    def address(self) -> StoreUrl:
        """The archive's folder, from wherever it is opened."""
        return self._url

    def collections(self) -> list[CollectionSpec]:
        return [FilesSource(self._state(listed.path)).describe() for listed in read_archive(self._root)]

    def source(self, name: str) -> FilesSource:
        paths = [listed.path for listed in read_archive(self._root)]
        return FilesSource(self._state(find(paths, name, store=self._text)))

    def sink(self, spec: CollectionSpec) -> FilesSink:
        return FilesSink(self._root, spec, store=self._text)

    def drop(self, name: str) -> None:
        if not self._root.exists(MANIFEST):
            return
        with self._root.locked(LOCK), suppress(NotFound):
            listed = read_archive(self._root)
            path = find([entry.path for entry in listed], name, store=self._text)
            if not named_in_full(path, name):
                return
            change_archive(self._root, lambda there: [entry for entry in there if entry.path != path])
            for entry in listed:
                if entry.path == path:
                    self._root.below(entry.folder).remove_all()

    def close(self) -> None:
        """Nothing is held."""

    def _state(self, path: tuple[str, ...]) -> State:
        """The collection as the disk holds it now; read again where a `finish` came in between."""
        file = self._root.shown("")
        for _ in range(_ATTEMPTS):
            listed = self._listed(path)
            file = self._root.below(listed.folder).shown(listed.manifest)
            with suppress(FileNotFoundError):
                return read_state(self._root, listed)
        raise corrupt(file, "is missing, but the archive's manifest names it")

    def _listed(self, path: tuple[str, ...]) -> Listed:
        for listed in read_archive(self._root):
            if listed.path == path:
                return listed
        raise gone("/".join(path), store=self._text)


class FilesConnector:
    """Opens archives.

    `open` raises ConfigError for a folder that holds other things, CorruptData for a torn or changed manifest, and
    Unsupported for an archive of a later version.
    """

    def open(self, url: StoreUrl) -> FilesDatabase:
        return FilesDatabase(url)


CONNECTOR = FilesConnector()
