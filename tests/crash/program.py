"""The program that the crash tests kill: engine and ledger over two stores given by URL.

    python -m tests.crash.program SOURCE TARGET LEDGER [--names a,b] [--lease S] [--rename X]

It prints one JSON object when it is done, and exits with 3 (and the error's name) when it was refused or stopped.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from dataclasses import replace
from datetime import UTC, datetime

from tests.crash import durable_store
from vecferry.engine import Options, Stop, job, keeping, migrate_collections
from vecferry.errors import VecferryError
from vecferry.hooks import reach
from vecferry.planning.model import CollectionPlan, IfExists, OnConflict, Plan
from vecferry.protocols import Database
from vecferry.registry import open_database
from vecferry.state.ledger import Ledger
from vecferry.state.model import Outcome


def make_plan(source: Database, target: Database, options: argparse.Namespace) -> Plan:
    collections = []
    for spec in source.collections():
        if options.names and spec.name not in options.names.split(","):
            continue
        reader = source.source(spec.name)
        partitions = tuple(reader.partitions())
        collections.append(
            CollectionPlan(
                source=spec.qualified_name,
                target=replace(spec, name=f"{options.rename}{spec.name}", uid=None, count=None),
                records=sum(part.estimated_rows or 0 for part in partitions),
                bytes=0,
                partitions=partitions,
                if_exists=IfExists(options.if_exists),
                on_conflict=OnConflict(options.on_conflict),
            )
        )
    return Plan(
        created=datetime.now(UTC),
        source_url="",
        target_url="",
        source=source.identity,
        target=target.identity,
        collections=tuple(collections),
    )


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("ledger")
    parser.add_argument("--names", default="")
    parser.add_argument("--rename", default="")
    parser.add_argument("--request", default="")
    parser.add_argument("--lease", type=float, default=30.0)
    parser.add_argument("--commit", type=float, default=0.0)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=3)
    parser.add_argument("--readers", type=int, default=1)
    parser.add_argument("--if-exists", default="ask")
    parser.add_argument("--on-conflict", default="refuse")
    return parser.parse_args(arguments)


def migrate(options: argparse.Namespace) -> dict[str, object]:
    durable_store.register()
    source, target, stop = open_database(options.source), open_database(options.target), Stop()
    signal.signal(signal.SIGINT, lambda *_: stop.request())
    plan = make_plan(source, target, options)
    pushing = Options(
        batch_rows=options.rows, commit_seconds=options.commit, readers=options.readers, jobs=options.jobs
    )
    with Ledger(options.ledger, lease_seconds=options.lease) as ledger:
        run = ledger.open_run(job(plan, {"--request": options.request}))
        with keeping(run, stop=stop):
            result = migrate_collections(plan, source, target, run, options=pushing, stop=stop)
            for name, collection in zip((c.source for c in plan.collections), result.collections, strict=True):
                assert source.source(name).count() == collection.records + collection.skipped
            reach("run.verified")
            run.close(Outcome.DONE)
    source.close()
    target.close()
    return {"run": run.id, "records": result.records, "skipped": result.skipped, "resumed": result.resumed}


def main() -> None:
    try:
        print(json.dumps(migrate(parse(sys.argv[1:]))))
    except VecferryError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(3)


if __name__ == "__main__":
    main()
