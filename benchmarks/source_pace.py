"""What an application feels of a migration with `--pace`: its searches' p95 at rest, and while the source is read. Run:

    python benchmarks/source_pace.py [--rows 50000] [--dim 768] [--store postgres|mariadb] [--index hnsw|none]
                                     [--pace gentle] [--load 5] [--rest 20] [--target qdrant|files] [--source]

One store with a table as people have it, one process that is the application (`--load` searches a second, each for ten
neighbours of a vector of the table, by a driver of its own, one at a time: on time, unless the one before it has not
ended), and `vecferry migrate` as a process of its own. Measured in one go:

  idle       the application alone, `--rest` seconds, after a warm-up of a quarter of that
  gently     the application while `vecferry migrate --pace` runs, from its first record to its last, and by stage
  full       the same without `--pace` (`--full`; not part of the bar)

The target stands on the same machine and takes its share of it, indexes included, which no pace of the source governs:
`--target qdrant` builds no index for that reason, as the other benchmarks do. The last line is JSON: both p95 in
milliseconds, their ratio over all that was read, and what the pace became.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from installed import COMPILED, as_installed
from measuring import machine

from vecferry.engine.gentle import p95
from vecferry.testing.mariadb import MariaDBDatabase, start_mariadb
from vecferry.testing.postgres import PostgresDatabase, start_postgres
from vecferry.testing.servers import start_qdrant

BATCH = 1_000
QUERIES = 64
TEXT = "word " * 72
BUFFERS = "512M"


def vectors(rows: int, dim: int) -> Iterator[tuple[int, np.ndarray[Any, Any]]]:
    """Batches of vectors in clusters, as embeddings are, and the number of the first of each."""
    random = np.random.default_rng(7)
    centres = random.standard_normal((200, dim))
    for start in range(0, rows, BATCH):
        count = min(BATCH, rows - start)
        near = centres[random.integers(0, len(centres), count)]
        yield start, (near + 0.5 * random.standard_normal((count, dim))).astype("<f4")


class Postgres:
    """The table in PostgreSQL, and its searches."""

    def __init__(self, database: PostgresDatabase, options: argparse.Namespace) -> None:
        self.database, self.dim = database, options.dim
        self.url = database.url
        database.execute(
            "CREATE TABLE chunks "
            f"(id bigint PRIMARY KEY, content text, metadata jsonb, embedding vector({options.dim}))"
        )
        with database.connect() as connection, connection.cursor() as cursor:
            for start, batch in vectors(options.rows, options.dim):
                with cursor.copy("COPY chunks FROM STDIN") as copy:
                    for n, vector in enumerate(batch):
                        metadata = json.dumps({"page": (start + n) % 90, "user": n % 40, "title": f"Title of {n}"})
                        copy.write_row((start + n, TEXT, metadata, text(vector)))
        if options.index == "hnsw":
            database.execute("CREATE INDEX ON chunks USING hnsw (embedding vector_cosine_ops)")
        database.execute("VACUUM ANALYZE chunks")

    @contextmanager
    def searching(self, queries: Sequence[np.ndarray[Any, Any]]) -> Iterator[Any]:
        with self.database.connect() as connection:
            statement = "SELECT id, content FROM chunks ORDER BY embedding <=> %s::vector LIMIT 10"
            texts = cycle([text(query) for query in queries])
            yield lambda: connection.execute(statement, (next(texts),)).fetchall()


class MariaDB:
    """The table in MariaDB, and its searches."""

    def __init__(self, database: MariaDBDatabase, options: argparse.Namespace) -> None:
        self.database = database
        self.url = database.url
        index = ", VECTOR INDEX (embedding) DISTANCE=cosine" if options.index == "hnsw" else ""
        database.execute(
            "CREATE TABLE chunks (id BIGINT PRIMARY KEY, content TEXT, metadata JSON, "
            f"embedding VECTOR({options.dim}) NOT NULL{index})"
        )
        with database.connect() as connection, connection.cursor() as cursor:
            for start, batch in vectors(options.rows, options.dim):
                metadata = [json.dumps({"page": n % 90, "user": n % 40}) for n in range(len(batch))]
                values = [
                    f"({start + n}, '{TEXT}', '{metadata[n]}', x'{one.tobytes().hex()}')" for n, one in enumerate(batch)
                ]
                cursor.execute(f"INSERT INTO chunks VALUES {', '.join(values)}")

    @contextmanager
    def searching(self, queries: Sequence[np.ndarray[Any, Any]]) -> Iterator[Any]:
        with self.database.connect() as connection, connection.cursor() as cursor:
            texts = cycle([query.tobytes().hex() for query in queries])

            def search() -> object:
                cursor.execute(
                    f"SELECT id, content FROM chunks ORDER BY VEC_DISTANCE_COSINE(embedding, x'{next(texts)}') LIMIT 10"
                )
                return cursor.fetchall()

            yield search


def text(vector: np.ndarray[Any, Any]) -> str:
    return "[" + ",".join(f"{value:.6g}" for value in vector.tolist()) + "]"


@dataclass
class Application:
    """Searches `load` times a second on a thread of its own; what each took, and when it began."""

    search: Any
    load: float
    seen: list[tuple[float, float]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        due = time.monotonic()
        while not self.ended.wait(max(0.0, due - time.monotonic())):
            began = time.monotonic()
            self.search()
            self.seen.append((time.time(), time.monotonic() - began))
            due = max(due + 1 / self.load, time.monotonic() - 1.0)

    def between(self, begin: float, end: float) -> list[float]:
        """Of searches that ended between two moments."""
        return [seconds for at, seconds in self.seen if begin <= at <= end]


def migrate(store: Postgres | MariaDB, target: str, pace: str, log: Path, work: Path) -> dict[str, Any]:
    """A whole `vecferry migrate`; what it printed."""
    chosen = ["-c", f"chunks={log.stem}"]
    command = [sys.executable, "-m", "vecferry", "migrate", store.url, target, *chosen, "--yes", "--json"]
    command += ["--pace", pace, "--quiet", "--log", str(log), "--queries", "20"]
    command += ["--ledger", str(work / f"{pace}.db"), "--report", str(work / "reports")]
    if target.startswith("qdrant"):
        command += ["--index", "none", "--target-config", 'hnsw_config={"m": 0}']
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["differences"] == 0, (told, done.stderr)
    return told


def stages(log: Path) -> tuple[dict[str, tuple[float, float]], list[dict[str, Any]]]:
    """Stage -> when it began and ended; and what was told of the pace."""
    events = [json.loads(line) for line in log.read_text().splitlines()]
    begun = {one["stage"]: one["at"] for one in events if one["event"] == "StageStarted"}
    ended = {one["stage"]: one["at"] for one in events if one["event"] == "StageFinished"}
    return {name: (begun[name], ended[name]) for name in begun}, [one for one in events if one["event"] == "Eased"]


def told(application: Application, log: Path) -> dict[str, Any]:
    """The p95 that the application saw while a migration ran, whole and by stage, and the pace."""
    spans, eased = stages(log)
    whole = application.between(min(begin for begin, _ in spans.values()), max(end for _, end in spans.values()))
    found = {
        "p95_ms": ms(p95(whole)),
        "searches": len(whole),
        "by_stage_ms": {name: ms(p95(application.between(*span))) for name, span in spans.items()},
        "seconds": {name: round(end - begin, 1) for name, (begin, end) in spans.items()},
    }
    if eased:
        during = [one["per_second"] for one in eased if spans["copy"][0] <= one["at"] <= spans["copy"][1]]
        last = eased[-1]
        found["pace"] = {"at_the_end": last["per_second"], "cuts": last["cuts"], "in_the_copy": span_of(during)}
        found["own_ms"] = {name: ms(last[name]) for name in ("idle", "bound", "p95_of_all")}
    return found


def span_of(paces: Sequence[float]) -> list[float]:
    return [min(paces), float(np.median(paces)), max(paces)] if paces else []


def ms(seconds: float) -> float:
    return round(seconds * 1000, 2)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if options.store == "postgres":
            server = stack.enter_context(start_postgres())
            store: Postgres | MariaDB = Postgres(stack.enter_context(server.fresh_database()), options)
        else:
            settings = {"innodb-buffer-pool-size": BUFFERS, "mhnsw-max-cache-size": BUFFERS}
            other = stack.enter_context(start_mariadb(settings=settings))
            store = MariaDB(stack.enter_context(other.fresh_database()), options)
        target = stack.enter_context(start_qdrant()).url if options.target == "qdrant" else f"files:{work / 'target'}"
        _, first = next(vectors(QUERIES, options.dim))
        application = Application(stack.enter_context(store.searching(list(first))), options.load)
        thread = threading.Thread(target=application.run)
        thread.start()
        try:
            found = {**_measured(store, application, target, work, options), **_setting(options)}
            assert thread.is_alive(), "The application ended: what it felt behind that is not known."
            return found
        finally:
            application.ended.set()
            thread.join()


def _measured(
    store: Postgres | MariaDB, application: Application, target: str, work: Path, options: argparse.Namespace
) -> dict[str, Any]:
    time.sleep(options.rest / 4)
    begin = time.time()
    time.sleep(options.rest)
    idle = p95(application.between(begin, time.time()))
    found: dict[str, Any] = {"idle_p95_ms": ms(idle)}
    migrate(store, target, options.pace, work / "gently.jsonl", work)
    found["gently"] = told(application, work / "gently.jsonl")
    found["ratio"] = round(found["gently"]["p95_ms"] / found["idle_p95_ms"], 3)
    if options.full:
        migrate(store, target, "full", work / "full.jsonl", work)
        found["full"] = told(application, work / "full.jsonl")
        found["full_ratio"] = round(found["full"]["p95_ms"] / found["idle_p95_ms"], 3)
    return found


def _setting(options: argparse.Namespace) -> dict[str, Any]:
    named = {name: getattr(options, name) for name in ("rows", "dim", "store", "index", "target", "pace", "load")}
    return {**named, "compiled": COMPILED, "machine": machine()}


def main() -> None:
    as_installed()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--store", choices=["postgres", "mariadb"], default="postgres")
    parser.add_argument("--index", choices=["hnsw", "none"], default="hnsw")
    parser.add_argument("--target", choices=["qdrant", "files"], default="qdrant")
    parser.add_argument("--pace", default="gentle")
    parser.add_argument("--load", type=float, default=5.0, help="searches a second")
    parser.add_argument("--rest", type=float, default=20.0, help="seconds")
    parser.add_argument("--full", action="store_true")
    print(json.dumps(measure(parser.parse_args())))


if __name__ == "__main__":
    main()
