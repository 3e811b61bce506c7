"""Writing a collection in bulk: make it from its spec, upsert batches, build what was deferred."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from vecferry.catalog import fit, merged_card
from vecferry.connectors.qdrant._codec import grpc_write, rest
from vecferry.connectors.qdrant._codec.filters import unquoted
from vecferry.connectors.qdrant._codec.form import Form, Rows
from vecferry.connectors.qdrant._codec.indexes import indexes
from vecferry.connectors.qdrant._codec.settings import (
    CARD,
    LOAD,
    card_text,
    creation,
    described,
    vectors,
)
from vecferry.connectors.qdrant._codec.shard_keys import KEY, ShardKey, is_custom, take
from vecferry.connectors.qdrant._codec.values import Unsayable
from vecferry.connectors.qdrant._codec.wishes import configured
from vecferry.connectors.qdrant._ids import json_id
from vecferry.connectors.qdrant.failures import TooLarge
from vecferry.connectors.qdrant.requests import GrpcPoints, RestPoints, cut, even
from vecferry.connectors.qdrant.server import Server
from vecferry.connectors.qdrant.transport import UPSERT, collection_path
from vecferry.errors import AlreadyExists, Conflict, ConnectorError, DataError, NotFound, Unavailable, Unsupported
from vecferry.model import Card, CollectionSpec, Element, Receipt, Rejection, VectorKind

_LOG = logging.getLogger("vecferry.qdrant")
_POLL_S, _MAX_POLL_S = 0.05, 1.0
_LARGE = 1 << 20
"""Bytes of the smallest limit that a server's settings can set on a request."""
_CARD_FIELDS = ("id_rule", "tenant", "layout", "exact_vectors")


class QdrantSink:
    """The writing side of one collection. `write` is thread-safe.

    One batch is one request over gRPC, where the limits allow it, and a few over REST.

    While a load is under way the collection builds no vector index; its metadata says so and what to restore, so that
    `finish` in another process, after a kill, does the same.
    """

    def __init__(self, server: Server, spec: CollectionSpec) -> None:
        self._server = server
        self._path = collection_path(spec.name)
        self._form = Form(_with_card(spec))
        self._most_rows: int | None = None
        self._shards: list[ShardKey] = []
        self._indexed = 0

    # ----------------------------------------------------------------------- prepare

    def prepare(self, spec: CollectionSpec) -> CollectionSpec:
        """Create the collection with indexing deferred, or check that the existing one fits.

        Raises:
            Conflict: it exists with another dimension, metric or vector name, or another kind, rule or layout of ids.
            Unsupported: the server is older than 1.16, or a vector is of a kind that Qdrant has not.
        """
        self._form = Form(_with_card(spec))
        self._check_server()
        info = self._server.info(spec.name)
        if info is None:
            info = self._create()
        else:
            self._check(info)
        self._most_rows = self._server.strict_limit(info, "upsert_max_batchsize")
        self._make_shards()
        self._defer(info)
        return self._made()

    def _check_server(self) -> None:
        if not self._server.at_least(1, 16):
            raise Unsupported(
                f"{self._server.store} is version {self._server.version}, which keeps no metadata with a collection.",
                store=self._server.store,
                hint="Update it to 1.16 or later: the card that says how to read the collection stands there.",
            )
        for vector in self._form.spec.vectors:
            if vector.kind is VectorKind.BITS:
                raise Unsupported(
                    f"Qdrant has no binary vectors ('{vector.name}').",
                    store=self._server.store,
                    hint="Turn them into 0/1 floats, with binary quantisation.",
                )

    def _create(self) -> Mapping[str, Any]:
        try:
            self._server.rest.call("PUT", self._path, creation(self._form))
        except AlreadyExists:  # another worker of the same run was faster
            _LOG.debug("%s was made by another process", self._path)
        info = self._info()
        self._check(info)
        return info

    def _make_shards(self) -> None:
        """Make the shards of a collection with custom sharding; those that are there stay."""
        if not is_custom(self._form.spec.config):
            return
        self._shards = self._server.shard_keys(self._form.spec.name)
        for key in self._form.spec.config.get("shard_keys", ()):
            if key not in self._shards:
                self._server.rest.call("PUT", f"{self._path}/shards", {"shard_key": key})
                self._shards.append(key)

    def _info(self) -> Mapping[str, Any]:
        info = self._server.info(self._form.spec.name)
        if info is None:
            raise NotFound(
                f"The collection '{self._form.spec.name}' is gone from {self._server.store}.",
                store=self._server.store,
                hint="Run the same command again; it is made anew.",
            )
        return info

    def _check(self, info: Mapping[str, Any]) -> None:
        """Does the existing collection fit?"""
        wanted = self._form.spec
        stored = tuple(replace(vector, element=_as_stored(vector.element)) for vector in self._form.stored_vectors)
        found = CollectionSpec(name=wanted.name, id_kind=wanted.id_kind, vectors=vectors(info["config"]["params"]))
        fit(found, replace(found, vectors=stored), store=self._server.store)
        existing = described(wanted.name, info, id_kind=wanted.id_kind, count=None)
        if existing.card is not None:
            fit(existing, wanted, store=self._server.store)
            self._check_card(existing.card)

    def _check_card(self, found: Card) -> None:
        for name in _CARD_FIELDS:
            there, asked = getattr(found, name), getattr(self._form.card, name)
            if there != asked:
                raise Conflict(
                    f"The collection '{self._form.spec.name}' in {self._server.store} was written with {name} "
                    f"{_shown(there)}; asked for was {_shown(asked)}.",
                    store=self._server.store,
                    hint="Choose another target name, or have the existing one replaced (--if-exists recreate).",
                )

    def _defer(self, info: Mapping[str, Any]) -> None:
        """Switch indexing off, and write down in the same request what to restore, and the card."""
        metadata = info["config"].get("metadata") or {}
        known = described(self._form.spec.name, info, id_kind=self._form.spec.id_kind, count=None).card
        card = self._form.card if known is None else merged_card(known, self._form.card)
        load = metadata.get(LOAD) or {"indexing_threshold": info["config"]["optimizer_config"]["indexing_threshold"]}
        if metadata.get(LOAD) == load and known == card:
            return
        body = {"optimizers_config": {"indexing_threshold": 0}, "metadata": {CARD: card_text(card), LOAD: load}}
        self._server.rest.call("PATCH", self._path, body)

    def _made(self) -> CollectionSpec:
        spec = self._form.spec
        made = described(spec.name, self._info(), id_kind=spec.id_kind, count=self._server.count(spec.name))
        return replace(made, vectors=spec.vectors, indexes=spec.indexes)

    # ----------------------------------------------------------------------- write

    def write(self, batch: pa.RecordBatch) -> Receipt:
        """Upsert a batch; durable and visible when it returns. Of equal ids the last wins.

        Raises:
            DataError: one record alone is more than the server takes.
        """
        if not is_custom(self._form.spec.config):
            return Receipt(batch.num_rows, self._write(self._form.rows(batch), None) if batch.num_rows else 0)
        bare, keys = take(batch)
        lost = [row for row, key in enumerate(keys) if key not in self._shards]
        sent = 0
        for key in self._shards:
            chosen = [row for row, own in enumerate(keys) if own == key and type(own) is type(key)]
            if chosen:
                sent += self._write_to(self._form.rows(bare.take(pa.array(chosen, pa.int64()))), key)
        ids = batch.column("id")
        rejected = tuple(Rejection(ids[row].as_py(), f"its {KEY} is none of the collection's shards") for row in lost)
        return Receipt(batch.num_rows - len(lost), sent, rejected)

    def _write(self, rows: Rows, shard: ShardKey | None) -> int:
        """Bytes sent."""
        return sum(map(self._send, self._messages(rows, shard)))

    def _write_to(self, rows: Rows, shard: ShardKey) -> int:
        """The same, and a point that stood in another shard stands there no more: Qdrant would keep and show both.

        What is there is asked for first and removed last: a process that dies in between leaves two, never none.
        """
        there = self._server.standing(self._form.spec.name, [json_id(point.decode()) for point in rows.ids])
        sent = self._write(rows, shard)
        self._server.delete(self._form.spec.name, there, [key for key in self._shards if key != shard])
        return sent

    def expect(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """What reading `batch` back from this collection gives, bit for bit. Pure."""
        return self._form.expect(batch)

    def _messages(self, rows: Rows, shard: ShardKey | None) -> Sequence[GrpcPoints | RestPoints]:
        """The points of a batch, in their order, in as few requests as the limits allow; over REST, in cheap ones."""
        if self._server.grpc is not None:
            try:
                points = grpc_write.points(rows, self._form)
                parts = cut([len(front) + len(floats) for front, floats in points], self._most_rows, None)
                return [GrpcPoints(rows.ids[start:end], points[start:end], shard) for start, end in parts]
            except Unsayable as reason:
                _LOG.debug("a batch goes over REST: %s", reason)
        columns = rest.points(rows, self._form)
        sizes = columns.sizes()
        parts = cut(sizes, self._most_rows, even(sizes, rest.REQUEST_BYTES))
        return [RestPoints(rows.ids[start:end], columns[start:end], shard) for start, end in parts]

    def _send(self, message: GrpcPoints | RestPoints) -> int:
        """Send points; where they are too many at once, in halves."""
        try:
            return self._send_whole(message)
        except TooLarge as error:
            if len(message.ids) == 1:
                raise DataError(
                    "One record is more than the server takes.",
                    ids=[message.ids[0].decode()],
                    hint=error.hint,
                ) from error
        half = len(message.ids) // 2
        return self._send(message.part(0, half)) + self._send(message.part(half, len(message.ids)))

    def _send_whole(self, message: GrpcPoints | RestPoints) -> int:
        if isinstance(message, GrpcPoints):
            assert self._server.grpc is not None
            body = grpc_write.upsert(self._form.spec.name, message.points, message.shard)
            self._server.grpc.call(UPSERT, body)
        else:
            body = rest.upsert(message.points, message.shard)
            self._put(body)
        return len(body)

    def _put(self, body: bytes) -> None:
        """Send one request of points over REST.

        A server that refuses a large body may close before it has read it, and its refusal is lost on the way: where it
        broke off over such a body and goes on answering, the body was the reason.
        """
        try:
            self._server.rest.send("PUT", f"{self._path}/points", body, wait="true")
        except Unavailable as error:
            if not error.facts.get("broke_off") or len(body) < _LARGE:
                raise
            self._info()
            raise TooLarge(error.message, store=self._server.store, hint=error.hint, too_large=True) from error

    def delete(self, ids: Sequence[str]) -> None:
        """Remove the records with these original ids."""
        points = [json_id(point) for point in self._form.point_ids(ids)]
        self._server.delete(self._form.spec.name, points, self._delete_from())

    def _delete_from(self) -> Sequence[ShardKey | None]:
        """The shards that a record may stand in."""
        if not is_custom(self._form.spec.config):
            return (None,)
        return self._shards or self._server.shard_keys(self._form.spec.name)

    # ----------------------------------------------------------------------- finish

    def finish(self) -> None:
        """Build the payload indexes, switch vector indexing back on, and wait until the collection is green.

        Payload indexes come first: Qdrant weaves those of tenants and filters into the vector index it then builds.
        """
        info = self._info()
        there = {unquoted(path) for path in info.get("payload_schema") or {}}
        for path, wanted in indexes(self._form).items():
            if unquoted(path) not in there:
                body = {"field_name": path, "field_schema": wanted}
                self._server.rest.call("PUT", f"{self._path}/index", body, wait="true")
        self._restore(info)
        self._wait()
        self._add_aliases()

    def _add_aliases(self) -> None:
        """Give the collection its aliases, save those that lead elsewhere: where an app goes is not ours to change."""
        wanted = self._form.spec.config.get("aliases", ())
        if not wanted:
            return
        known = self._server.aliases() | {name: name for name in self._server.names()}
        name = self._form.spec.name
        for alias in wanted:
            if known.get(alias, name) != name:
                _LOG.warning("The alias '%s' goes on leading to '%s', not to '%s'.", alias, known[alias], name)
        new = [alias for alias in wanted if alias not in known]
        actions = [{"create_alias": {"collection_name": name, "alias_name": alias}} for alias in new]
        if actions:
            self._server.rest.call("POST", "/collections/aliases", {"actions": actions})

    def _restore(self, info: Mapping[str, Any]) -> None:
        load = (info["config"].get("metadata") or {}).get(LOAD)
        if load is not None:
            body = {"optimizers_config": {"indexing_threshold": load["indexing_threshold"]}, "metadata": {LOAD: None}}
            self._server.rest.call("PATCH", self._path, body)

    def _wait(self) -> None:
        """Until the server says green: nothing is left to index."""
        pause = _POLL_S
        while (info := self._info())["status"] != "green":
            if info["status"] == "red":
                raise ConnectorError(
                    f"Qdrant cannot index '{self._form.spec.name}': {info.get('optimizer_status')}",
                    store=self._server.store,
                    hint="The server's log says more; often its disk is full. What is written stays.",
                )
            if info["status"] == "grey":  # waits for a change before it goes on; this is one that changes nothing
                self._server.rest.call("PATCH", self._path, {"optimizers_config": {}})
            time.sleep(pause)
            pause = min(_MAX_POLL_S, pause * 1.5)
            self._indexed = info.get("indexed_vectors_count") or 0
        self._indexed = info.get("indexed_vectors_count") or 0

    def indexed(self) -> int:
        """Vectors in indexes, as the server counted them when `finish` last looked."""
        return self._indexed

    def close(self) -> None:
        """Nothing of its own is open: the connections belong to the database."""


def _with_card(spec: CollectionSpec) -> CollectionSpec:
    """`spec` as Qdrant takes it, with a card: whoever opens the collection later must learn what it is."""
    spec = configured(spec)
    card = spec.card or Card(id_kind=spec.id_kind)
    return replace(spec, card=replace(card, vectors=spec.vectors))


def _as_stored(element: Element) -> Element:
    """The number type of a vector in Qdrant, which has no signed bytes."""
    return Element.FLOAT32 if element is Element.INT8 else element


def _shown(value: object) -> str:
    return f"'{value}'"
