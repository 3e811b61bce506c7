"""A snapshot file as a store: unpacked into a folder of the cache, read by the edge engine, gone when it is closed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from vecferry import catalog
from vecferry.connectors.qdrant._codec.foreign import SAMPLE, form_of
from vecferry.connectors.qdrant._codec.form import Form
from vecferry.connectors.qdrant._codec.settings import described
from vecferry.connectors.qdrant._codec.shard_keys import in_order, is_custom
from vecferry.connectors.qdrant.embedded.engine import Shard, engine
from vecferry.connectors.qdrant.embedded.source import EmbeddedSource
from vecferry.connectors.qdrant.facts import LIMITS
from vecferry.connectors.qdrant.snapshots.contents import Contents, contents
from vecferry.connectors.qdrant.snapshots.source import SnapshotSource
from vecferry.errors import Unsupported
from vecferry.limits import Limits
from vecferry.model import CollectionSpec, IdKind, Pin, StoreIdentity
from vecferry.objects.packed import Packed, open_packed
from vecferry.url import StoreUrl

SNAPSHOT = "snapshot"
_FIRST_UUID = "00000000-0000-0000-0000-000000000000"


def open_snapshot(url: StoreUrl) -> SnapshotDatabase:
    """Unpack and open the snapshot that `url` names: `qdrant+snapshot:FILE`, or in a bucket `qdrant+s3://…`.

    Raises:
        ConfigError: an unknown option, or the extra is missing. NotFound: no such file.
        CorruptData, Unsupported: no snapshot, hostile, torn, or a part of a collection. StoreFull: no room.
    """
    engine()
    transport = None if url.transport == SNAPSHOT else url.transport
    packed = open_packed(replace(url, transport=transport, options={"max_ratio": "1000000", **url.options}))
    try:
        return SnapshotDatabase(packed, contents(packed.folder, file=packed.where))
    except BaseException:
        packed.close()
        raise


class SnapshotDatabase:
    """The collections of one snapshot; they can only be read."""

    def __init__(self, packed: Packed, found: list[Contents]) -> None:
        self._packed = packed
        self._store = f"qdrant+{SNAPSHOT}:{packed.where}"
        self._contents = {one.name: one for one in found}
        self._open: dict[Path, Shard] = {}
        self._forms: dict[str, Form] = {}

    @property
    def identity(self) -> StoreIdentity:
        return StoreIdentity(kind="qdrant", where=self._packed.where, transport=SNAPSHOT)

    @property
    def limits(self) -> Limits:
        return LIMITS

    def pin(self, folder: Path) -> Pin:
        """Nothing to hold still: a run only must not go on with another file. See `Pinnable.pin`.

        Raises:
            PlanChanged: the file is not the one that the run began with.
        """
        return Pin(at=datetime.now(UTC), identity=self._packed.hold(folder, SNAPSHOT))

    def collections(self) -> list[CollectionSpec]:
        return [self.source(name).describe() for name in self._contents]

    def source(self, name: str) -> SnapshotSource:
        found = self._contents[catalog.find([(known,) for known in self._contents], name, store=self._store)[-1]]
        form = self._form(found)
        shards = {
            number: EmbeddedSource(form, lambda: form.spec, self._opener(path))
            for number, path in sorted(found.shards.items())
        }
        return SnapshotSource(form, shards, found.keys, LIMITS.scores)

    def sink(self, spec: CollectionSpec) -> NoReturn:
        raise Unsupported(
            f"{spec.name} cannot be written into {self._packed.where}: a snapshot is only read.",
            store=self._store,
            hint="Write to a Qdrant server, or to an embedded folder: qdrant:PATH.",
        )

    def close(self) -> None:
        for shard in self._open.values():
            shard.close()
        self._open.clear()
        self._packed.close()

    # ----------------------------------------------------------------------- within

    def _opener(self, path: Path) -> Callable[[], Shard]:
        return lambda: self._shard(path)

    def _shard(self, path: Path) -> Shard:
        if path not in self._open:
            self._open[path] = Shard.load(path)
        return self._open[path]

    def _form(self, found: Contents) -> Form:
        if found.name not in self._forms:
            shards = [self._shard(path) for path in found.shards.values()]
            kind = _id_kind(shards)
            spec = described(found.name, found.info, id_kind=kind, count=None, aliases=found.aliases)
            if is_custom(spec.config):
                spec = replace(spec, config={**spec.config, "shard_keys": in_order(found.keys.values())})
            schema = found.info["payload_schema"]
            self._forms[found.name] = form_of(spec, schema, lambda: _payloads(shards))
        return self._forms[found.name]


def _id_kind(shards: list[Shard]) -> IdKind:
    """Of what kind the point ids are; `UUID` where there are none."""
    firsts = [point.id for shard in shards for point in shard.scroll(start=None, limit=1, content=False)]
    uuids = any(shard.scroll(start=_FIRST_UUID, limit=1, content=False) for shard in shards)
    if any(isinstance(first, int) for first in firsts):
        return IdKind.MIXED if uuids else IdKind.INT
    return IdKind.UUID


def _payloads(shards: list[Shard]) -> list[dict[str, Any]]:
    each = -(-SAMPLE // max(1, len(shards)))
    return [point.payload or {} for shard in shards for point in shard.scroll(start=None, limit=each)]
