"""The main job against its ceiling, the usual script, and a peer. Run:

    python benchmarks/chroma_to_qdrant.py [--rows 50000] [--dim 768] [--rounds 3] [--peer PATH_OF_qdrant/migration]
                                          [--rest] [--source]

Measures the compiled wheel of this source, as people install it; `--source` measures the source as it stands. All on
one Qdrant server started here, indexing deferred in all, each into a fresh collection, round by round in turn:

  ceiling   the same records as ready-made gRPC messages, 500 points each, sent as fast as the server takes them
  ours      `vecferry migrate` as a process of its own: inspect, copy, index, verify; `copy` is what is compared
  naive     what people write: chromadb `get` in pages of 100, a list of PointStruct, `upsert`, wait (some records only)
  rest      the same over REST (`--rest`), whose copy is compared with ours
  peer      qdrant/migration from a Chroma server over the same directory, where its binary is given

Without `--hnsw` no index is built at the end either, so that a round takes seconds: copying is what is compared.
Ratios are of one run; the machine's noise is in every figure alike. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
from directory import COLLECTION, directory
from installed import COMPILED
from measuring import machine, options

from vecferry import arrow
from vecferry.connectors.qdrant._codec import grpc_write
from vecferry.connectors.qdrant._codec.form import Form
from vecferry.connectors.qdrant.transport import UPSERT
from vecferry.migration import plan as make_plan
from vecferry.registry import open_database
from vecferry.testing.servers import QdrantServer, start_chroma, start_qdrant

POINTS = 500
IN_FLIGHT = 3
PAGE = 100
"""Records a page and a request of the naive script."""


def messages(folder: Path, server: QdrantServer) -> list[bytes]:
    """Every record of the directory as ready-made upsert messages."""
    plan = make_plan(f"chroma:{folder}", server.url).collections[0]
    form = Form(plan.target)
    made = []
    with closing(open_database(f"chroma:{folder}")) as database, closing(database.source(plan.source)) as source:
        for partition in source.partitions():
            for chunk in source.read(partition):
                batches = arrow.split(chunk.batch, max_rows=POINTS, max_bytes=1 << 30)
                made += [grpc_write.upsert(COLLECTION, grpc_write.points(form.rows(batch), form)) for batch in batches]
    return made


def ceiling(made: list[bytes], rows: int, folder: Path, server: QdrantServer) -> float:
    """Records per second of ready-made messages."""
    plan = make_plan(f"chroma:{folder}", server.url).collections[0]
    with closing(open_database(server.url)) as database, closing(database.sink(plan.target)) as sink:
        sink.prepare(plan.target)
        connection = database._server.grpc
        began = time.perf_counter()
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            list(pool.map(lambda message: connection.call(UPSERT, message), made))
        took = time.perf_counter() - began
        database.drop(COLLECTION)
    return rows / took


def ours(folder: Path, url: str, work: Path, *, hnsw: bool) -> dict[str, float]:
    """Seconds by stage and peak memory, all its processes together, of a whole `vecferry migrate`."""
    command = [
        sys.executable,
        "-m",
        "vecferry",
        "migrate",
        f"chroma:{folder}",
        url,
        "--yes",
        "--json",
        "--quiet",
    ]
    command += ["--ledger", str(work / "ledger.db"), "--report", str(work / "reports"), "--queries", "20"]
    command += [] if hnsw else ["--index", "none", "--target-config", 'hnsw_config={"m": 0}']
    with tempfile.TemporaryFile() as printed, subprocess.Popen(command, stdout=printed) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            time.sleep(0.05)
        printed.seek(0)
        told = json.load(printed)
    assert process.returncode == 0, told
    assert told["differences"] == 0, told
    return {**told["seconds"], "peak_mb": peak / 1000}


def resident(pid: int) -> int:
    """Resident memory of a process and its children now, in kB: what is their own, and the files that one maps.

    Files, libraries above all, count once: the processes map the same. (`smaps_rollup` knows better, and holds the
    process up while it looks.) A child that is only being started still has its parent's memory, and does not count.
    """
    try:
        itself = Path(f"/proc/{pid}/cmdline").read_bytes()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        children = [one for one in children if Path(f"/proc/{one}/cmdline").read_bytes() != itself]
        texts = [Path(f"/proc/{one}/status").read_text() for one in [pid, *children]]
    except OSError:  # one of them just ended
        return 0
    found = [{name: int(value.split()[0]) for name, value in _RESIDENT.findall(text)} for text in texts]
    return sum(one.get("RssAnon", 0) for one in found) + max(one.get("RssFile", 0) for one in found)


_RESIDENT = re.compile(r"^(RssAnon|RssFile):\s+(\d+)", re.MULTILINE)


def naive(folder: Path, server: QdrantServer, rows: int) -> dict[str, float]:
    """Records per second of the usual script, over the first `rows` records; and of its reading alone."""
    import chromadb
    from qdrant_client import QdrantClient, models

    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        settings = chromadb.Settings(anonymized_telemetry=False)
        collection = chromadb.PersistentClient(copy, settings=settings).get_collection(COLLECTION)
        client = QdrantClient(url=server.http_url, timeout=60, check_compatibility=False)
        dim = len(collection.get(limit=1, include=["embeddings"])["embeddings"][0])
        vectors = models.VectorParams(size=dim, distance=models.Distance.COSINE)
        client.create_collection("naive", vectors, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=0))
        collection.get(limit=PAGE)  # the first call loads the index: not counted
        reading, began = 0.0, time.perf_counter()
        for start in range(0, rows, PAGE):
            asked = time.perf_counter()
            page = collection.get(limit=PAGE, offset=start, include=["embeddings", "documents", "metadatas"])
            reading += time.perf_counter() - asked
            client.upsert("naive", list(points(page, start)), wait=True)
        took = time.perf_counter() - began
        client.delete_collection("naive")
    return {"all": rows / took, "read": rows / reading}


def points(page: Any, start: int) -> Iterator[Any]:
    from qdrant_client import models

    fields = zip(page["ids"], page["embeddings"], page["documents"], page["metadatas"], strict=True)
    for number, (ident, vector, text, more) in enumerate(fields, start):
        payload = {"id": ident, "document": text, **more}
        yield models.PointStruct(id=number, vector=vector.tolist(), payload=payload)


def peer(binary: str, folder: Path, server: QdrantServer, rows: int) -> float:
    """Records per second of qdrant/migration with batches of 500, from a Chroma server over a copy of the directory."""
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(folder, Path(copy) / "data")
        with start_chroma(folder=Path(copy)) as chroma:
            command = [binary, "chroma", "--chroma.url", chroma.http_url, "--chroma.collection", COLLECTION]
            command += ["--qdrant.url", f"http://127.0.0.1:{server.grpc_port}", "--qdrant.collection", "peer"]
            command += ["--qdrant.distance-metric", "cosine", "--migration.batch-size", "500"]
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            took = time.perf_counter() - began
    httpx.delete(f"{server.http_url}/collections/peer").raise_for_status()
    return rows / took


def files(folder: Path, rows: int, work: Path) -> dict[str, float]:
    """Records per second of writing an archive from the directory, and of reading it to the end."""
    target = f"files:{work / 'archive'}"
    command = [sys.executable, "-m", "vecferry", "migrate", f"chroma:{folder}", target, "--yes", "--json", "--quiet"]
    command += ["--no-verify", "--ledger", str(work / "files.db"), "--report", str(work / "reports")]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    began = time.perf_counter()
    with closing(open_database(target)) as database, closing(database.source(COLLECTION)) as source:
        read = sum(chunk.batch.num_rows for part in source.partitions() for chunk in source.read(part))
    took = time.perf_counter() - began
    assert read == rows
    return {"write": rows / told["seconds"]["copy"], "read": rows / took}


def emptied(server: QdrantServer) -> None:
    """Remove what `ours` wrote."""
    httpx.delete(f"{server.http_url}/collections/{COLLECTION}").raise_for_status()


@contextmanager
def workplace() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="vecferry-benchmark-") as folder:
        yield Path(folder)


def measure(given: argparse.Namespace) -> dict[str, Any]:
    folder = directory(given.rows, given.dim)
    found: dict[str, list[Any]] = {"ceiling": [], "ours": [], "naive": [], "rest": [], "peer": [], "files": []}
    with start_qdrant() as server:
        made = messages(folder, server)
        size = sum(map(len, made)) / given.rows
        for _ in range(given.rounds):
            found["ceiling"].append(ceiling(made, given.rows, folder, server))
            with workplace() as work:
                found["ours"].append(ours(folder, server.url, work, hnsw=given.hnsw))
                found["files"].append(files(folder, given.rows, work))
            emptied(server)
            if given.rest:
                with workplace() as work:
                    found["rest"].append(ours(folder, f"{server.url}&transport=rest", work, hnsw=given.hnsw))
                emptied(server)
            found["naive"].append(naive(folder, server, min(given.rows, given.naive_rows)))
            if given.peer:
                found["peer"].append(peer(given.peer, folder, server, given.rows))
            print({name: values[-1] for name, values in found.items() if values}, flush=True)
    return summary(given, found, size)


def summary(given: argparse.Namespace, found: dict[str, list[Any]], size: float) -> dict[str, Any]:
    """Medians of rates, and medians of the ratios within each round."""
    copies = [given.rows / one["copy"] for one in found["ours"]]
    naives = [one["all"] for one in found["naive"]]
    stages = {name: statistics.median(one[name] for one in found["ours"]) for name in found["ours"][0]}
    return {
        "rows": given.rows,
        "dim": given.dim,
        "bytes_per_point": round(size),
        "rounds": given.rounds,
        "compiled": COMPILED,
        "records_per_second": {
            "ceiling": round(statistics.median(found["ceiling"])),
            "ours": round(statistics.median(copies)),
            "naive": round(statistics.median(naives)),
            "naive_read": round(statistics.median(one["read"] for one in found["naive"])),
            "peer": round(statistics.median(found["peer"])) if found["peer"] else None,
            "files_write": round(statistics.median(one["write"] for one in found["files"])),
            "files_read": round(statistics.median(one["read"] for one in found["files"])),
        },
        "ratio": {
            "of_ceiling": ratio(copies, found["ceiling"]),
            "times_naive": ratio(copies, naives),
            "times_peer": ratio(copies, found["peer"]),
            "rest_of_grpc": ratio([one["copy"] for one in found["ours"]], [one["copy"] for one in found["rest"]]),
            "verify_of_copy": ratio([one["verify"] for one in found["ours"]], [one["copy"] for one in found["ours"]]),
            "files_write_times_naive_read": ratio(
                [one["write"] for one in found["files"]], [one["read"] for one in found["naive"]]
            ),
            "files_read_times_naive_read": ratio(
                [one["read"] for one in found["files"]], [one["read"] for one in found["naive"]]
            ),
        },
        "seconds": {name: round(value, 3) for name, value in stages.items()},
        "machine": machine(),
    }


def ratio(ours: list[float], theirs: list[float]) -> float | None:
    """The median of the ratios, round by round."""
    pairs = list(zip(ours, theirs, strict=True)) if theirs else []
    return round(statistics.median(a / b for a, b in pairs), 3) if pairs else None


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--naive-rows", type=int, default=50_000)
    parser.add_argument("--hnsw", action="store_true", help="also let the server build its vector and payload indexes")
    parser.add_argument("--rest", action="store_true", help="also migrate over REST")
    parser.add_argument("--peer", help="path of a qdrant/migration binary")
    print(json.dumps(measure(parser.parse_args())))


if __name__ == "__main__":
    main()
