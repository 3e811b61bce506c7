"""A Chroma directory that lies packed: in a bucket as an archive or as files, or in an archive on this disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from vecferry.connectors.chroma.catalog import FILE
from vecferry.connectors.chroma.database import ChromaDatabase
from vecferry.connectors.chroma.source import ChromaSource
from vecferry.errors import ConfigError, CorruptData, NotFound, Unsupported
from vecferry.limits import Limits
from vecferry.model import CollectionSpec, Pin, StoreIdentity
from vecferry.objects.packed import Packed, open_packed
from vecferry.url import StoreUrl


class PackedChromaDatabase:
    """Reads what was packed; it cannot be written.

    A snapshot is taken from the unpacked folder, which is removed as soon as `pin` has it. What the snapshot is of, a
    note beside it says: a run that began with one archive does not go on with another.
    """

    def __init__(self, packed: Packed, *, newer: bool) -> None:
        self._packed = packed
        self._inner = ChromaDatabase(_only_directory(packed), newer=newer)

    @property
    def identity(self) -> StoreIdentity:
        return replace(self._inner.identity, where=self._packed.where, transport="archive")

    @property
    def limits(self) -> Limits:
        return self._inner.limits

    def pin(self, folder: Path) -> Pin:
        """See `Pinnable.pin`.

        Raises:
            PlanChanged: the snapshot in `folder` is of another archive than the one that stands there now.
        """
        identity = self._packed.hold(folder, "archive")
        taken = self._inner.pin(folder)
        self._packed.close()
        return replace(taken, identity=identity)

    def collections(self) -> list[CollectionSpec]:
        return self._inner.collections()

    def source(self, name: str) -> ChromaSource:
        return self._inner.source(name)

    def sink(self, spec: CollectionSpec) -> NoReturn:
        raise Unsupported(
            f"{spec.name} cannot be written into {self._packed.where}: it is packed.",
            store=self._packed.where,
            hint="Write a backup with `vecferry backup SOURCE files+s3://BUCKET/PREFIX`, or a directory: chroma:PATH.",
        )

    def close(self) -> None:
        self._inner.close()
        self._packed.close()


def open_packed_chroma(url: StoreUrl) -> PackedChromaDatabase:
    """Fetch, unpack and open the Chroma directory that `url` names packed.

    Raises:
        ConfigError, AuthFailed, NotFound, CorruptData, Unavailable, StoreFull: see `open_packed`.
    """
    newer = url.options.get("newer")
    if newer not in {None, "read"}:
        raise ConfigError(f"newer={newer} has no meaning.", hint="Write newer=read, or leave it out.")
    packed = open_packed(url, known=frozenset({"newer"}))
    try:
        return PackedChromaDatabase(packed, newer=newer is not None)
    except BaseException:
        packed.close()
        raise


def _only_directory(packed: Packed) -> Path:
    found = sorted(file.parent for file in packed.folder.rglob(FILE) if file.is_file())
    if not found:
        raise NotFound(
            f"{packed.where} holds no Chroma directory: there is no {FILE} in it.",
            store=packed.where,
            hint="Pack the folder that chromadb.PersistentClient(path=…) writes to: tar czf chroma.tar.gz chroma_db",
        )
    if len(found) > 1:
        places = ", ".join(str(folder.relative_to(packed.folder)) for folder in found[:5])
        raise CorruptData(
            f"{packed.where} holds {len(found)} Chroma directories: {places}.",
            hint="Which one is meant cannot be said in a URL: pack each into an archive of its own.",
        )
    return found[0]
