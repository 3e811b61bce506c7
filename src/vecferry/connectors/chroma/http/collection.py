"""One collection of a server: its calls, with the names that chromadb's own collection gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import orjson

from vecferry.connectors.chroma import _codec, cards
from vecferry.connectors.chroma.http.failures import TooLarge
from vecferry.connectors.chroma.http.transport import Http
from vecferry.errors import CorruptData, DataError
from vecferry.model import Card, CollectionSpec, IdKind, Metric, VectorSpec

T = TypeVar("T")
EVERYTHING = ["embeddings", "documents", "metadatas", "uris"]
_REQUEST_BYTES = 4 << 20
"""JSON that one request shall hold, about: proxies and servers take 10 MB and more."""
_NUMBER_BYTES = 12
"""A float32 below 1 and its comma, about."""


class Collection:
    """Thread-safe. `get` answers what chromadb's does, so that one sink writes to a folder and to a server.

    Attributes:
        raw: what the server says of the collection.
        most: records that one request may name or bring; listed: ids alone that one answer may hold. Both become
            smaller where the store says so: the quotas of Cloud are not the same for all tenants.
    """

    def __init__(self, http: Http, path: str, raw: Mapping[str, Any], *, most: int, listed: int, old: bool) -> None:
        self._http, self.path, self.raw, self._old = http, path, raw, old
        self.store, self.most, self.listed = http.store, most, listed

    # ----------------------------------------------------------------------- what it is

    @property
    def id(self) -> str:
        return str(self.raw["id"])

    @property
    def name(self) -> str:
        return str(self.raw["name"])

    @property
    def metadata(self) -> dict[str, Any]:
        return dict(self.raw.get("metadata") or {})

    @property
    def configuration_json(self) -> dict[str, Any]:
        """Index settings; a server before 1.0 records some that it does not obey, so there they are what it obeys."""
        held = self.raw.get("configuration_json") or {}
        return {"hnsw": self.hnsw} if self._old else {"hnsw": held.get("hnsw") or held.get("spann") or {}}

    @property
    def hnsw(self) -> dict[str, Any]:
        """The index settings under 1.x's names, `space` (the metric's truth) among them."""
        schema, config = (self.raw.get(name) for name in ("schema", "configuration_json"))
        return _codec.served_config(_text(schema), _text(config), self.metadata)

    @property
    def card(self) -> Card | None:
        """Ours, where it carries one that we understand."""
        return cards.read(self.metadata)

    def spec(self, namespace: tuple[str, ...], *, count: int | None, dim: int | None) -> CollectionSpec:
        """The collection for the outside.

        Raises:
            CorruptData: it says a metric that Chroma has not.
        """
        hnsw, card = self.hnsw, self.card
        metric = _codec.METRICS.get(str(hnsw["space"]))
        if metric is None:
            raise CorruptData(
                f"The collection {self.name} says that its metric is '{hnsw['space']}', which Chroma has not.",
                hint="Look at its settings with Chroma's own client.",
            )
        own = cards.without(self.metadata)
        return CollectionSpec(
            name=self.name,
            namespace=namespace,
            uid=self.id,
            id_kind=card.id_kind if card else IdKind.TEXT,
            vectors=(VectorSpec(dim=dim, metric=Metric(metric)),),
            metadata=_codec.unwrap_collection(own) if card else own,
            config={"hnsw": hnsw},
            count=count,
            card=card,
        )

    def dim(self) -> int | None:
        """The length of its vectors, None where it never had one."""
        known = self.raw.get("dimension")
        if known is not None:
            return int(known)
        sample = self.get(limit=1, include=["embeddings"])["embeddings"]
        return len(sample[0]) if sample else None

    # ----------------------------------------------------------------------- calls

    def count(self) -> int:
        return int(self._http.call("GET", f"{self.path}/count"))

    def ask(self, **wanted: Any) -> bytes:
        """The answer to `get`, undecoded."""
        try:
            return self._http.send("POST", f"{self.path}/get", orjson.dumps(wanted))
        except TooLarge as error:
            self._learn(error)
            raise

    def get(self, **wanted: Any) -> dict[str, Any]:
        """See chromadb. Of many ids, as many at a time as the store answers; never more than it lists at once."""
        ids = wanted.get("ids")
        if ids is None:
            return self._with_all(self._page(wanted))
        parts = self._in_parts(ids, lambda part: self.ask(**{**wanted, "ids": part, "limit": len(part)}))
        return self._with_all(_joined([self._http.json(answer) for answer in parts]))

    def query(self, vectors: Any, *, k: int) -> dict[str, Any]:
        """The `k` nearest of each vector: ids and distances."""
        body = {"query_embeddings": vectors, "n_results": k, "include": ["distances"]}
        answer: dict[str, Any] = self._http.call("POST", f"{self.path}/query", body)
        return answer

    def add(self, **columns: Any) -> None:
        self._write("add", columns)

    def upsert(self, **columns: Any) -> None:
        self._write("upsert", columns)

    def delete(self, ids: Sequence[str]) -> None:
        for _ in self._in_parts(ids, lambda part: self._http.call("POST", f"{self.path}/delete", {"ids": part})):
            pass

    def modify(self, metadata: Mapping[str, Any]) -> None:
        """Replace its metadata, without the index settings that collections made before 1.0 keep there."""
        kept = {key: value for key, value in self.metadata.items() if key.startswith("hnsw:")}
        new = {**kept, **metadata}
        self._http.call("PUT", self.path, {"new_metadata": new})
        self.raw = {**self.raw, "metadata": new}

    # ----------------------------------------------------------------------- within

    def _page(self, wanted: Mapping[str, Any]) -> Any:
        """What `get` answers to a request that names a limit, and no ids."""
        while True:
            limit = min(wanted["limit"], self.listed)
            try:
                return self._http.json(self.ask(**{**wanted, "limit": limit}))
            except TooLarge:
                if limit <= self.listed:
                    raise

    def _in_parts(self, ids: Sequence[str], call: Callable[[list[str]], T]) -> Iterator[T]:
        """`call` for as many ids at a time as one request may name."""
        start = 0
        while start < len(ids):
            part = list(ids[start : start + self.most])
            try:
                answer = call(part)
            except TooLarge as error:
                self._learn(error)
                if len(part) <= self.most:
                    raise
                continue
            yield answer
            start += len(part)

    def _learn(self, error: TooLarge) -> None:
        """Remember how many records the store takes at once, where it said so."""
        most = error.facts.get("most")
        if isinstance(most, int):
            self.most, self.listed = min(self.most, most), min(self.listed, most)

    def _with_all(self, answer: dict[str, Any]) -> dict[str, Any]:
        """`answer` with a column for everything, and without `{}` for "no metadata"."""
        nothing = [None] * len(answer["ids"])
        columns = {name: answer.get(name) or nothing for name in ("documents", "uris", "metadatas")}
        return {**answer, **columns, "metadatas": [metadata or None for metadata in columns["metadatas"]]}

    def _write(self, what: str, columns: Mapping[str, Any]) -> None:
        sizes = _sizes(columns)
        start = total = 0
        for row, size in enumerate(sizes):
            if row > start and (row - start >= self.most or total + size > _REQUEST_BYTES):
                self._send(what, _slice(columns, start, row))
                start, total = row, 0
            total += size
        self._send(what, _slice(columns, start, len(sizes)))

    def _send(self, what: str, columns: Mapping[str, Any]) -> None:
        """Send records; where they are too many at once, in halves."""
        rows = len(columns["ids"])
        body = orjson.dumps(columns, option=orjson.OPT_SERIALIZE_NUMPY)
        try:
            self._http.send("POST", f"{self.path}/{what}", body)
            return
        except TooLarge as error:
            if rows == 1:
                text = "One record is more than the server takes."
                raise DataError(text, ids=columns["ids"], hint=error.hint) from error
            self._learn(error)
        if rows > self.most:
            self._write(what, columns)
            return
        self._send(what, _slice(columns, 0, rows // 2))
        self._send(what, _slice(columns, rows // 2, rows))


def _text(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    if not parts:
        return {"ids": []}
    return {
        name: None if value is None else [item for part in parts for item in part[name]]
        for name, value in parts[0].items()
    }


def _slice(columns: Mapping[str, Any], start: int, stop: int) -> dict[str, Any]:
    return {name: column[start:stop] for name, column in columns.items()}


def _sizes(columns: Mapping[str, Any]) -> list[int]:
    """Bytes of each record as JSON, about."""
    numbers = columns["embeddings"].shape[1] * _NUMBER_BYTES
    measures: dict[str, Callable[[Any], int]] = {"metadatas": lambda held: len(orjson.dumps(held))}
    texts = [
        [0 if cell is None else measures.get(name, len)(cell) for cell in columns[name]]
        for name in ("ids", "documents", "uris", "metadatas")
        if name in columns
    ]
    return [numbers + sum(row) for row in zip(*texts, strict=True)]
