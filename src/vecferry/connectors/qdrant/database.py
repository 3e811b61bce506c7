"""A Qdrant server as a store: list, describe, open, drop."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

from vecferry.connectors.qdrant._codec.shard_keys import KEY, is_custom
from vecferry.connectors.qdrant._codec.wishes import configured
from vecferry.connectors.qdrant.facts import LIMITS, REST_REQUEST_BYTES
from vecferry.connectors.qdrant.server import Server
from vecferry.connectors.qdrant.sink import QdrantSink
from vecferry.connectors.qdrant.source import QdrantSource, describe
from vecferry.connectors.qdrant.transport import Address, Rest, collection_path
from vecferry.errors import ConfigError
from vecferry.limits import Limits
from vecferry.model import CollectionSpec, StoreIdentity
from vecferry.url import StoreUrl
from vecferry.web.client import answers_without_key

_LOG = logging.getLogger("vecferry.qdrant")


def open_server(url: StoreUrl) -> QdrantDatabase:
    """Open the server behind `url` and prove that it answers, takes the key, and is Qdrant.

    Raises:
        ConfigError, Unavailable, AuthFailed: with a message that says what to do.
    """
    return QdrantDatabase(Server(Address(url)))


class QdrantDatabase:
    """An open server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        for warning in self.warnings:
            _LOG.warning(warning)

    @property
    def identity(self) -> StoreIdentity:
        """Host and port, version, and whether bulk data goes over gRPC or REST."""
        transport = "rest" if self._server.grpc is None else "grpc"
        return StoreIdentity(
            kind="qdrant", where=self._server.address.where, version=self._server.version, transport=transport
        )

    @property
    def limits(self) -> Limits:
        """Qdrant's limits; over REST a request has a size."""
        return LIMITS if self._server.grpc is not None else replace(LIMITS, request_bytes=REST_REQUEST_BYTES)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know about this connection."""
        return self._server.address.warnings

    def answers_without_key(self) -> bool | None:
        """Does the server answer a request that carries no key? None where we were given no key."""
        return answers_without_key(self._server.address, Rest, lambda rest: rest.call("GET", "/collections"))

    def address(self) -> StoreUrl:
        """The URL that this server was opened by; keys are references in it."""
        return self._server.address.url

    def collections(self) -> Iterator[CollectionSpec]:
        """Every collection, by name."""
        for name in self._server.names():
            if (info := self._server.info(name)) is not None:
                yield describe(self._server, name, info)

    def source(self, name: str) -> QdrantSource:
        """The reading side of a collection or alias.

        Raises:
            NotFound: there is none; lists near names.
        """
        return QdrantSource(self._server, self._server.find(name))

    def sink(self, spec: CollectionSpec) -> QdrantSink:
        """The writing side; nothing is touched before `prepare`."""
        return QdrantSink(self._server, spec)

    def configured(self, spec: CollectionSpec) -> CollectionSpec:
        """`spec` with short names (`quantization`, `m` …) spelled out, every setting one that this server has.

        Raises:
            ConfigError: a setting that Qdrant does not have, or custom sharding where the server is no cluster.
        """
        spec = configured(spec)
        if is_custom(spec.config) and not self._server.is_cluster():
            raise ConfigError(
                f"'{spec.name}' has shard keys, and {self._server.store} is no cluster.",
                hint="Switch its cluster mode on, or give them up: --target-config sharding_method=auto. "
                f"Each record then keeps its shard key in its metadata, as {KEY}.",
            )
        return spec

    def drop(self, name: str) -> None:
        """Remove a collection and everything in it."""
        self._server.rest.call("DELETE", collection_path(name))

    def close(self) -> None:
        """Close the connections."""
        self._server.close()
