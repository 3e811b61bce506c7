"""A Chroma server into Qdrant, against what the Chroma server can deliver. Run:

    python benchmarks/chroma_server_to_qdrant.py [--rows 50000] [--dim 768] [--rounds 3] [--peer PATH] [--source]

One Chroma server over a copy of the directory and one Qdrant server, both started here, in turn:

  ceiling   a bare HTTP client: pages by id, embeddings, documents and metadata, the bodies thrown away; the best of
            several page sizes and numbers of requests in flight, found in the first round
  ours      `vecferry migrate` as a process of its own; `copy` is what is compared
  peer      qdrant/migration with its own defaults, where its binary is given

Measures the compiled wheel; `--source` measures the source as it stands. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from directory import COLLECTION, directory
from installed import COMPILED
from measuring import machine, options

from vecferry.testing.servers import ChromaServer, QdrantServer, start_chroma, start_qdrant

WAYS = ((250, 2), (500, 2), (1000, 2), (1000, 4), (2000, 2))
"""records a page, requests in flight"""
INCLUDE = ["embeddings", "documents", "metadatas"]


class Bare:
    """A bare HTTP client of one collection."""

    def __init__(self, server: ChromaServer) -> None:
        self._client = httpx.Client(timeout=120)
        root = f"{server.http_url}/api/v2/tenants/default_tenant/databases/default_database/collections"
        collection = self._client.get(f"{root}/{COLLECTION}").raise_for_status().json()
        self._get = f"{root}/{collection['id']}/get"
        self.ids = self._client.post(self._get, json={"include": []}).raise_for_status().json()["ids"]

    def rate(self, page: int, in_flight: int) -> float:
        """Records per second of reading everything, thrown away."""
        pages = [self.ids[start : start + page] for start in range(0, len(self.ids), page)]
        began = time.perf_counter()
        with ThreadPoolExecutor(in_flight) as pool:
            list(pool.map(self._read, pages))
        return len(self.ids) / (time.perf_counter() - began)

    def _read(self, ids: list[str]) -> int:
        answer = self._client.post(self._get, json={"ids": ids, "include": INCLUDE}).raise_for_status()
        return len(answer.content)


def ours(chroma: ChromaServer, qdrant: QdrantServer, work: Path) -> dict[str, float]:
    """Seconds by stage of a whole `vecferry migrate`."""
    command = [sys.executable, "-m", "vecferry", "migrate", chroma.url, qdrant.url, "--yes", "--json", "--quiet"]
    command += ["--ledger", str(work / "ledger.db"), "--report", str(work / "reports"), "--queries", "20"]
    command += ["--index", "none", "--target-config", 'hnsw_config={"m": 0}']
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert told["differences"] == 0, told
    return dict(told["seconds"])


def peer(binary: str, chroma: ChromaServer, qdrant: QdrantServer, rows: int) -> float:
    """Records per second of qdrant/migration as it comes."""
    command = [binary, "chroma", "--chroma.url", chroma.http_url, "--chroma.collection", COLLECTION]
    command += ["--qdrant.url", f"http://127.0.0.1:{qdrant.grpc_port}", "--qdrant.collection", "peer"]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    took = time.perf_counter() - began
    httpx.delete(f"{qdrant.http_url}/collections/peer").raise_for_status()
    return rows / took


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """All rounds, and their medians."""
    found: dict[str, list[Any]] = {"ceiling": [], "ours": [], "peer": []}
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(directory(given.rows, given.dim), Path(copy) / "data")
        with start_chroma(folder=Path(copy)) as chroma, start_qdrant() as qdrant:
            bare = Bare(chroma)
            way = max(WAYS, key=lambda one: bare.rate(*one))
            for _ in range(given.rounds):
                found["ceiling"].append(bare.rate(*way))
                with tempfile.TemporaryDirectory() as work:
                    found["ours"].append(ours(chroma, qdrant, Path(work)))
                httpx.delete(f"{qdrant.http_url}/collections/{COLLECTION}").raise_for_status()
                if given.peer:
                    found["peer"].append(peer(given.peer, chroma, qdrant, given.rows))
                print({name: values[-1] for name, values in found.items() if values}, flush=True)
    return summary(given, found, way)


def summary(given: argparse.Namespace, found: dict[str, list[Any]], way: tuple[int, int]) -> dict[str, Any]:
    """Medians of rates, and of the ratios within each round."""
    copies = [given.rows / one["copy"] for one in found["ours"]]
    of_ceiling = [ours / ceiling for ours, ceiling in zip(copies, found["ceiling"], strict=True)]
    return {
        "rows": given.rows,
        "dim": given.dim,
        "rounds": given.rounds,
        "compiled": COMPILED,
        "ceiling_page_and_requests": way,
        "records_per_second": {
            "ceiling": round(statistics.median(found["ceiling"])),
            "ours": round(statistics.median(copies)),
            "peer": round(statistics.median(found["peer"])) if found["peer"] else None,
        },
        "of_ceiling": round(statistics.median(of_ceiling), 3),
        "seconds": {name: round(statistics.median(o[name] for o in found["ours"]), 3) for name in found["ours"][0]},
        "machine": machine(),
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--peer", help="path of a qdrant/migration binary")
    print(json.dumps(measure(parser.parse_args())))


if __name__ == "__main__":
    main()
