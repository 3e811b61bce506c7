"""Reading records by id from a server that says only on the way how many it takes at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from vecferry.connectors.chroma.http.collection import Collection
from vecferry.connectors.chroma.http.failures import of_answer
from vecferry.connectors.chroma.http.ids import Ids
from vecferry.connectors.chroma.http.source import ServerSource
from vecferry.web.answers import Answer

TAKES = 40
IDS = [f"id-{number:03}" for number in range(250)]
LAST = IDS[190]


class Tight:
    """A server with 250 records whose quota of ids in one request is smaller than it looked at first."""

    store = "a server"

    def send(self, method: str, path: str, content: bytes | None = None, **_: Any) -> bytes:
        wanted = orjson.loads(content or b"{}")
        ids = wanted.get("ids") or IDS[wanted.get("offset", 0) :][: wanted["limit"]]
        if len(ids) > TAKES:
            said = "'Number of IDs to filter by in a query' exceeded quota limit for action 'Get': current usage of "
            body = orjson.dumps({"error": "X", "message": f"{said}{len(ids)} exceeds limit of {TAKES}"}).decode()
            raise of_answer(Answer(422, {}, body), self.store)
        rows = len(ids)
        columns: dict[str, Any] = {"ids": ids, "documents": [None] * rows, "uris": [None] * rows}
        columns["embeddings"] = [[float(IDS.index(text)), 1.0] for text in ids]
        columns["metadatas"] = [{"last": 0.5} if text == LAST else {"row": 1} for text in ids]
        return orjson.dumps({name: columns[name] for name in ["ids", *wanted["include"]]} | {"include": []})

    def call(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        return len(IDS) if path.endswith("/count") else self.json(self.send(method, path, orjson.dumps(body)))

    def json(self, answer: bytes) -> Any:
        return orjson.loads(answer)


def source(folder: Path) -> ServerSource:
    raw = {"id": "7", "name": "docs", "dimension": 2, "metadata": {}, "configuration_json": {"hnsw": {"space": "l2"}}}
    made = Collection(Tight(), "/docs", raw, most=100, listed=30, old=False)  # type: ignore[arg-type]
    spec = made.spec((), count=len(IDS), dim=2)
    return ServerSource(made, spec, Ids(made, folder / "ids.arrow", page=30), cloud=True, pinned=True)


def test_records_by_id_are_all_there_where_the_server_takes_fewer_than_it_seemed(tmp_path: Path) -> None:
    found = source(tmp_path).fetch(IDS)
    assert sorted(found.column("id").to_pylist()) == IDS


def test_every_record_is_looked_at_before_a_filter_is_trusted(tmp_path: Path) -> None:
    """One record has a float, far behind the first request, which was too large."""
    read = source(tmp_path)
    assert read._seen.types == {"row": {int}, "last": {float}}
