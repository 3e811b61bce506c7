"""A team on Chroma Cloud's starter plan moves out, quota or not, to a Chroma server of its own, and may come back.

1,177 records of six audits are in Cloud, whose reads and writes end at 300 records; 877 of 22 more audits lie in
a JSON file and do not get in. Cloud is played by the double of `vecferry.testing.cloud_double`; the server is a real
Chroma behind a real Caddy with TLS and a token. Every step is the installed command; the records are then compared
through Chroma's own client.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.command import Vecferry
from vecferry.testing.cloud_double import CloudDouble, CloudQuotas, start_cloud_double
from vecferry.testing.servers import ChromaServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

COLLECTION = "audits"
HELD = {"acme": 312, "borealis": 268, "cobalt": 207, "dune": 181, "ember": 126, "fjord": 83}
STUCK = {f"client-{n:02}": 39 + (n < 19) for n in range(22)}
DIM = 48
TOKEN = "a-token-of-more-than-thirty-two-characters"
PAGE = 300


def records(clients: dict[str, int]) -> Iterator[dict[str, Any]]:
    """The records of some audits, as the team's application makes them."""
    for client, count in clients.items():
        vectors = np.random.default_rng(len(client) + count).normal(0, 1, (count, DIM)).astype(np.float32)
        for n in range(count):
            metadata = {"client": client, "page": n, "score": n / 7, "signed": n % 3 == 0, "title": f"Prüfung №{n} ✓"}
            text = f"{client}, finding {n}: the ledger and the quay disagree."
            yield {"id": f"{client}-{n:04}", "embedding": vectors[n].tolist(), "document": text, "metadata": metadata}


def add(client: Any, found: list[dict[str, Any]]) -> None:
    """What the application does: pages that the quota lets through."""
    collection = client.get_or_create_collection(COLLECTION, configuration={"hnsw": {"space": "cosine"}})
    for start in range(0, len(found), PAGE):
        page = found[start : start + PAGE]
        fields = {f"{name}s": [one[name] for one in page] for name in ("id", "embedding", "document", "metadata")}
        collection.add(**fields)


def dump(server: ChromaServer, **namespace: str) -> dict[str, dict[str, Any]]:
    """Everything in the collection, by Chroma's own client, straight from the server behind proxy or double."""
    import chromadb

    client = chromadb.HttpClient(port=server.port, **namespace)
    got = client.get_collection(COLLECTION).get(include=["embeddings", "documents", "metadatas"])
    rows = zip(got["ids"], got["embeddings"], got["documents"], got["metadatas"], strict=True)
    return {key: {"embedding": vector, "document": text, "metadata": more} for key, vector, text, more in rows}


@pytest.fixture
def cloud(start_chroma: Callable[..., ChromaServer]) -> Iterator[CloudDouble]:
    """Cloud with what is in it."""
    import chromadb

    with start_cloud_double(start_chroma()) as double:
        client = chromadb.HttpClient(
            port=double.port, headers=double.headers, tenant=double.tenant, database=double.database
        )
        add(client, list(records(HELD)))
        yield double


def test_the_story(
    vecferry: Vecferry,
    cloud: CloudDouble,
    start_chroma: Callable[..., ChromaServer],
    start_caddy: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """Out of Cloud, into a file, onto a server of one's own, twice; the rest behind it; and back."""
    own = start_chroma()
    proxy = start_caddy(own.http_url, token=TOKEN)
    server = f"chroma+{proxy.http_url}?ca_file={proxy.ca_file}"
    vecferry.env |= {"CHROMA_API_KEY": cloud.token, "CHROMA_AUTH_TOKEN": TOKEN}
    backup = tmp_path / "audits.jsonl.gz"

    everything_comes_out(vecferry, cloud, backup)
    the_backup_goes_in_once(vecferry, backup, server, own)
    again_changes_nothing(vecferry, backup, server, own)
    the_rest_follows(vecferry, tmp_path, server, own)
    the_way_back(vecferry, server, cloud)


def everything_comes_out(vecferry: Vecferry, cloud: CloudDouble, backup: Path) -> None:
    """All 1,177 in spite of a quota of 300 a read; nobody is turned away on the way."""
    cloud.seen.largest_read = 0
    done = vecferry("migrate", cloud.url, f"jsonl:{backup}", "--by", "client", "--yes", "--json").json
    assert (done["records"], done["differences"]) == (sum(HELD.values()), 0)
    assert 0 < cloud.seen.largest_read <= PAGE
    assert not cloud.seen.unlimited_reads
    assert not cloud.seen.refused
    with gzip.open(backup, "rt", encoding="utf-8") as lines:
        clients = Counter(line.get("metadata", {}).get("client") for line in map(json.loads, lines))
    assert {name: clients[name] for name in HELD} == HELD, "the file can be read without vecferry"


def the_backup_goes_in_once(vecferry: Vecferry, backup: Path, server: str, own: ChromaServer) -> None:
    """Through TLS and with a token; every value and its type is there, and a person can see that no client is short."""
    done = vecferry("migrate", f"jsonl:{backup}", server, "--by", "client", "--yes", "--json")
    assert (done.json["records"], done.json["differences"]) == (1177, 0)
    same_records(dump(own), HELD)
    shown = vecferry("inspect", server, "--by", "client").text
    for client, count in HELD.items():
        assert f"{client} {count}" in shown
    assert TOKEN not in done.out + done.err


def again_changes_nothing(vecferry: Vecferry, backup: Path, server: str, own: ChromaServer) -> None:
    """The same import again: nothing is written, and that is said."""
    before = dump(own)
    again = vecferry("migrate", f"jsonl:{backup}", server, "--if-exists", "sync", "--yes")
    assert "identical" in again.text or "nothing" in again.text.lower(), again
    after = dump(own)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[key]["embedding"], after[key]["embedding"]) for key in before)


def the_rest_follows(vecferry: Vecferry, room: Path, server: str, own: ChromaServer) -> None:
    """877 records that never got into Cloud, from the file that the ingestion had written, in a form of its own."""
    waiting = room / "waiting.json"
    rows = list(records(STUCK))
    assert len(rows) == 877
    waiting.write_text(json.dumps({"collection": COLLECTION, "count": len(rows), "records": rows}))
    done = vecferry("migrate", f"json:{waiting}", server, "--if-exists", "append", "--yes", "--json").json
    assert (done["records"], done["differences"]) == (877, 0)
    same_records(dump(own), HELD | STUCK)
    shown = vecferry("inspect", server, "--by", "client", "--json").json
    assert [profile["records"] for profile in shown["profiles"]] == [1177 + 877]


def the_way_back(vecferry: Vecferry, server: str, cloud: CloudDouble) -> None:
    """As long as the Cloud copy exists: a larger plan, and only what Cloud lacks is written, 300 at a time."""
    cloud.quotas = CloudQuotas()
    cloud.seen.largest_write = 0
    done = vecferry("sync", server, cloud.url, "--yes", "--json").json
    assert done["differences"] == 0
    assert 0 < cloud.seen.largest_write <= PAGE
    same_records(dump(cloud.chroma, tenant=cloud.tenant, database=cloud.database), HELD | STUCK)


def same_records(found: dict[str, dict[str, Any]], clients: dict[str, int]) -> None:
    """What the vendor's client reads is what the application had given."""
    given = {one["id"]: one for one in records(clients)}
    assert found.keys() == given.keys()
    for key, one in found.items():
        assert one["document"] == given[key]["document"]
        # our own marks of a record stand under `_vf`
        plain = {name: value for name, value in one["metadata"].items() if name != "_vf"}
        assert {name: (type(value), value) for name, value in plain.items()} == {
            name: (type(value), value) for name, value in given[key]["metadata"].items()
        }
        np.testing.assert_allclose(one["embedding"], given[key]["embedding"], rtol=0, atol=2e-6)
