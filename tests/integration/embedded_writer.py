"""A program that writes into an embedded folder and says what was acknowledged, for tests that kill it.

python embedded_writer.py FOLDER ROUNDS      batches of 200; each round writes the same ids with a new version
python embedded_writer.py FOLDER hold        opens the folder, says so, and waits for its standard input to end
"""

from __future__ import annotations

import sys

import numpy as np

from vecferry.arrow import from_records
from vecferry.model import Card, CollectionSpec, Metric, Record, VectorSpec
from vecferry.registry import open_database

VECTORS = (VectorSpec(dim=64, metric=Metric.COSINE),)
SPEC = CollectionSpec(name="docs", vectors=VECTORS, card=Card(vectors=VECTORS))
ROWS, BATCHES = 200, 10


def records(batch: int, version: int) -> list[Record]:
    """The records of one batch; all of a record tells its version."""
    values = np.random.default_rng((batch, version)).standard_normal((ROWS, 64)).astype(np.float32)
    return [
        Record(id=f"{batch}-{n}", vectors={"": values[n]}, document=f"{version} " * 50, metadata={"version": version})
        for n in range(ROWS)
    ]


def main(folder: str, what: str) -> None:
    database = open_database(f"qdrant:{folder}")
    sink = database.sink(SPEC)
    sink.prepare(SPEC)
    if what == "hold":
        sink.write(from_records(SPEC, []))
        print("open", flush=True)
        sys.stdin.read()
        return
    for version in range(int(what)):
        for batch in range(BATCHES):
            sink.write(from_records(SPEC, records(batch, version)))
            print(version, batch, flush=True)
    sink.finish()
    database.close()
    print("closed", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
