"""JSON backups against `json.dump` and `json.load` with lists, and how memory grows. Run:

    python benchmarks/json_backup.py [--rows 20000] [--dim 768] [--rounds 3]

Each step is a process of its own, round by round in turn, on one file system:

  dump, load      what people write: `json.dump` of lists side by side, `json.load` of them; the lists are there already
  write           our sink: batches of 1,000 into the journal, each synced, then `finish`, which makes the file
  read            our source, from `open` (which proves every record by the file's digest) to the last batch
  columns, lines  our source over that dump, and over the same records one a line: forms that others wrote

Peak memory is measured at the given size and at twice as many records, less that of the process before it began.
Ratios are of one run; the machine's noise is in every figure alike. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from vecferry.arrow import build
from vecferry.model import CollectionSpec, VectorSpec
from vecferry.registry import connector, open_database
from vecferry.report.machine import this_machine

BATCH = 1_000
DOCUMENT = "A sentence of a document, as long as sentences are. " * 10
STEPS = ("dump", "load", "lines-dump", "write", "read", "write-lines", "read-lines", "columns", "lines")


def spec(dim: int) -> CollectionSpec:
    return CollectionSpec(name="docs", vectors=(VectorSpec(dim=dim),))


def vectors(start: int, rows: int, dim: int) -> Any:
    return np.random.default_rng(start).standard_normal((rows, dim)).astype(np.float32)


def ids(start: int, rows: int) -> list[str]:
    return [f"record-{number:08}" for number in range(start, start + rows)]


def metadata(start: int, rows: int) -> list[dict[str, Any]]:
    return [
        {"client": f"client-{number % 22}", "page": number, "score": number / 7}
        for number in range(start, start + rows)
    ]


def lists(rows: int, dim: int) -> dict[str, Any]:
    """Everything as Python lists, as an application holds it that got it from Chroma."""
    values = np.concatenate([vectors(start, BATCH, dim) for start in range(0, rows, BATCH)])
    return {
        "ids": ids(0, rows),
        "embeddings": values.tolist(),
        "documents": [DOCUMENT] * rows,
        "metadatas": metadata(0, rows),
    }


def dump(file: Path, rows: int, dim: int) -> float:
    value = lists(rows, dim)
    began = time.perf_counter()
    with (file / "dump.json").open("w") as out:
        json.dump(value, out)
    return time.perf_counter() - began


def load(file: Path) -> float:
    began = time.perf_counter()
    with (file / "dump.json").open() as source:
        json.load(source)
    return time.perf_counter() - began


def lines_dump(file: Path, rows: int, dim: int) -> float:
    began = time.perf_counter()
    with (file / "lines.jsonl").open("w") as out:
        for start in range(0, rows, BATCH):
            for number, vector in enumerate(vectors(start, BATCH, dim).tolist(), start):
                more = metadata(number, 1)[0]
                out.write(
                    json.dumps(
                        {"id": f"record-{number:08}", "embedding": vector, "document": DOCUMENT, "metadata": more}
                    )
                )
                out.write("\n")
    return time.perf_counter() - began


def write(url: str, rows: int, dim: int) -> float:
    made, took = spec(dim), 0.0
    with closing(open_database(url)) as database, closing(database.sink(made)) as sink:
        sink.prepare(made)
        for start in range(0, rows, BATCH):
            texts = [json.dumps(one, sort_keys=True, separators=(",", ":")) for one in metadata(start, BATCH)]
            columns = {"id": ids(start, BATCH), "vector": vectors(start, BATCH, dim)}
            batch = build(made, {**columns, "document": [DOCUMENT] * BATCH, "metadata": texts})
            began = time.perf_counter()
            sink.write(batch)
            took += time.perf_counter() - began
        began = time.perf_counter()
        sink.finish()
        return took + time.perf_counter() - began


def read(url: str, rows: int) -> float:
    began = time.perf_counter()
    with closing(open_database(url)) as database:
        (found,) = database.collections()
        source = database.source(found.name)
        seen = sum(chunk.batch.num_rows for part in source.partitions() for chunk in source.read(part))
    assert seen == rows, seen
    return time.perf_counter() - began


def step(name: str, file: Path, rows: int, dim: int) -> float:
    match name:
        case "dump":
            return dump(file, rows, dim)
        case "load":
            return load(file)
        case "lines-dump":
            return lines_dump(file, rows, dim)
        case "write" | "write-lines":
            url = f"json:{file}/own.json" if name == "write" else f"jsonl:{file}/own.jsonl"
            Path(url.partition(":")[2]).unlink(missing_ok=True)
            return write(url, rows, dim)
        case "read":
            return read(f"json:{file}/own.json", rows)
        case "read-lines":
            return read(f"jsonl:{file}/own.jsonl", rows)
        case "columns":
            return read(f"json:{file}/dump.json", rows)
        case _:
            return read(f"jsonl:{file}/lines.jsonl", rows)


def apart(name: str, file: Path, rows: int, dim: int) -> dict[str, float]:
    """A step in a process of its own: seconds, and the memory in MB that it took on top of what it began with."""
    command = [sys.executable, __file__, "--rows", str(rows), "--dim", str(dim), "--step", name, "--folder", str(file)]
    told: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return told


def inside(name: str, file: Path, rows: int, dim: int) -> None:
    connector("json")  # importing it is not what is measured
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = step(name, file, rows, dim)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000
    print(json.dumps({"seconds": seconds, "mb": grown}))


def measure(rows: int, dim: int, rounds: int) -> dict[str, Any]:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in STEPS}
    with tempfile.TemporaryDirectory(prefix="vecferry-benchmark-") as work:
        for _ in range(rounds):
            for name in STEPS:
                found[name].append(apart(name, Path(work), rows, dim))
            print({name: round(values[-1]["seconds"], 2) for name, values in found.items()}, flush=True)
        size = {one.name: round(one.stat().st_size / 1e6) for one in sorted(Path(work).iterdir())}
        twice = {name: round(apart(name, Path(work), 2 * rows, dim)["mb"]) for name in STEPS}
    once = {name: round(max(one["mb"] for one in values)) for name, values in found.items()}
    machine = this_machine()
    return {
        "rows": rows,
        "dim": dim,
        "rounds": rounds,
        "megabytes": size,
        "records_per_second": {
            name: round(rows / statistics.median(one["seconds"] for one in values)) for name, values in found.items()
        },
        "ratio": {
            "write": ratio(found, "dump", "write"),
            "write_lines": ratio(found, "dump", "write-lines"),
            "read": ratio(found, "load", "read"),
            "read_lines": ratio(found, "load", "read-lines"),
            "columns": ratio(found, "load", "columns"),
            "lines": ratio(found, "load", "lines"),
        },
        "peak_mb": {name: {"once": once[name], "twice": twice[name]} for name in STEPS},
        "machine": {"processor": machine.processor, "cores": machine.cores, "python": machine.python},
    }


def ratio(found: dict[str, list[dict[str, float]]], theirs: str, ours: str) -> float:
    """How many times faster, the median of the rounds."""
    pairs = zip(found[theirs], found[ours], strict=True)
    return round(statistics.median(a["seconds"] / b["seconds"] for a, b in pairs), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        inside(given.step, given.folder, given.rows, given.dim)
    else:
        print(json.dumps(measure(given.rows, given.dim, given.rounds)))


if __name__ == "__main__":
    main()
