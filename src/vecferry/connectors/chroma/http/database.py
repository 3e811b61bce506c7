"""A Chroma server, or a Cloud tenant, as a store: list, describe, open, drop."""

from __future__ import annotations

import json
import logging
import secrets
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock

from vecferry.connectors.chroma import _codec
from vecferry.connectors.chroma.http.address import Address
from vecferry.connectors.chroma.http.collection import Collection
from vecferry.connectors.chroma.http.ids import Ids
from vecferry.connectors.chroma.http.server import Server
from vecferry.connectors.chroma.http.sink import ServerSink
from vecferry.connectors.chroma.http.source import ServerSource
from vecferry.connectors.chroma.http.transport import Http
from vecferry.errors import NotFound
from vecferry.limits import Limits
from vecferry.model import CollectionSpec, Pin, StoreIdentity
from vecferry.url import StoreUrl
from vecferry.web.client import answers_without_key

_LOG = logging.getLogger("vecferry.chroma")
_MARKER = "ids.json"


def open_server(url: StoreUrl) -> ChromaServerDatabase:
    """Open the server behind `url` and prove that it answers, takes the key, and is Chroma.

    Raises:
        ConfigError, Unavailable, AuthFailed: with a message that says what to do.
    """
    return ChromaServerDatabase(Server(Address(url)))


class ChromaServerDatabase:
    """An open server, seen as one tenant.

    A server cannot be held still. `pin` keeps the list of a collection's ids, which is what partitions and positions
    rest on: a resumed run reads the records that the first process settled on, in the same order.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lock = RLock()
        self._pinned: Path | None = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._lists = 0
        for warning in self.warnings:
            _LOG.warning(warning)

    @property
    def identity(self) -> StoreIdentity:
        """Host and port, tenant and database where the URL names them, version, generation of the interface."""
        generation = "v2" if self._server.v2 else "v1"
        where = self._server.address.where
        return StoreIdentity(kind="chroma", where=where, version=self._version(), transport=f"http {generation}")

    @property
    def limits(self) -> Limits:
        return self._server.limits

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know about this connection."""
        return self._server.address.warnings

    def pin(self, folder: Path) -> Pin:
        """Keep the ids of what is read in `folder`, or use those there."""
        with self._lock:
            folder.mkdir(parents=True, exist_ok=True)
            marker = folder / _MARKER
            if not marker.exists():
                identity = f"{self._server.address.where}#{secrets.token_hex(8)}"
                said = {"at": datetime.now(UTC).isoformat(), "identity": identity}
                marker.with_suffix(".partial").write_text(json.dumps(said), encoding="utf-8")
                marker.with_suffix(".partial").rename(marker)
            found = json.loads(marker.read_text(encoding="utf-8"))
            self._pinned = folder
            return Pin(at=datetime.fromisoformat(found["at"]), identity=found["identity"])

    def answers_without_key(self) -> bool | None:
        """Does the server answer a request that carries no key? None where we were given no key."""
        return answers_without_key(self._server.address, Http, self._server.ask_for_collections)

    def address(self) -> StoreUrl:
        """The URL that this server was opened by; keys are references in it."""
        return self._server.address.url

    def collections(self) -> Iterator[CollectionSpec]:
        """Every collection, in the order of database and name."""
        for tenant, database, collection in self._server.names():
            yield self._spec(tenant, database, collection)

    def source(self, name: str) -> ServerSource:
        """The reading side of a collection.

        Raises:
            NotFound: there is none; lists near names.
        """
        tenant, database, collection = self._server.find(name)
        cloud, pinned = self._server.address.cloud, self._pinned is not None
        ids = Ids(collection, self._file(collection), page=collection.listed)
        spec = self._spec(tenant, database, collection, ids if pinned and ids.kept else None)
        return ServerSource(collection, spec, ids, cloud=cloud, pinned=pinned)

    def sink(self, spec: CollectionSpec) -> ServerSink:
        """The writing side; nothing is touched before `prepare`."""
        return ServerSink(spec, lambda: self._server, self._server.namespace)

    def drop(self, name: str) -> None:
        """Remove a collection and everything in it."""
        try:
            tenant, database, collection = self._server.find(name)
        except NotFound:
            return
        if name == collection.name and not self._is_written_to(tenant, database):
            return
        self._server.drop(tenant, database, collection.name)

    def close(self) -> None:
        with self._lock:
            self._server.close()
            if self._temporary is not None:
                self._temporary.cleanup()
                self._temporary = None

    # ----------------------------------------------------------------------- within

    def _spec(self, tenant: str, database: str, collection: Collection, ids: Ids | None = None) -> CollectionSpec:
        count = collection.count() if ids is None else len(ids)
        return collection.spec(_codec.namespace(tenant, database), count=count, dim=collection.dim())

    @property
    def home(self) -> tuple[str, ...]:
        """The (tenant, database) of a collection that names none; empty for Chroma's own defaults."""
        return _codec.namespace(*self._server.namespace)

    def _is_written_to(self, tenant: str, database: str) -> bool:
        """Whether a bare name is that of a collection there: where a sink writes it, or where Chroma's defaults are."""
        return (tenant, database) == self._server.namespace or not _codec.namespace(tenant, database)

    def _file(self, collection: Collection) -> Path:
        """Where the ids of a collection are kept: one list while pinned, otherwise a new one per source."""
        with self._lock:
            if self._pinned is not None:
                return self._pinned / f"{collection.id}.arrow"
            if self._temporary is None:
                self._temporary = tempfile.TemporaryDirectory(prefix="vecferry-chroma-")
            self._lists += 1
            return Path(self._temporary.name) / f"{collection.id}-{self._lists}.arrow"

    def _version(self) -> str:
        if self._server.address.cloud:
            return "Cloud"
        return self._server.version if self._server.old else "1.x"
