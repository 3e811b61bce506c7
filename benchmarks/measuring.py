"""What the benchmarks share: their options, a rate, one migration without verification, medians, the last line."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from installed import COMPILED, as_installed

from vecferry.migration import migrate
from vecferry.migration.settings import Settings
from vecferry.planning.options import PlanOptions
from vecferry.process import prepare
from vecferry.report.machine import this_machine

Round = dict[str, float]
"""Name -> records a second, or a ratio of two such"""


def options(doc: str | None, *, rows: int = 50_000, dim: int = 768) -> argparse.ArgumentParser:
    """--rows, --dim and --rounds; from here on it is the compiled wheel that runs, unless `--source` is said.

    In a process that keeps freed memory, as the command line does: where pages are dear (virtual machines) that counts
    for more than the work itself.
    """
    as_installed()
    prepare()
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=rows)
    parser.add_argument("--dim", type=int, default=dim)
    parser.add_argument("--rounds", type=int, default=3)
    return parser


def rate(work: Callable[[Any], Any], items: Sequence[Any], rows: int, threads: int) -> float:
    """Records a second of `work` on all `items`, which hold `rows` records together."""
    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        list(pool.map(work, items))
        return rows / (time.perf_counter() - began)


def copied(origin: str, goal: str, collection: str, rows: int) -> float:
    """Records a second of the copy in `migrate` without verification, from the first read to the last write."""
    with tempfile.TemporaryDirectory() as folder:
        plan = PlanOptions(collections=(collection,))
        settings = Settings(plan=plan, ledger=str(Path(folder) / "ledger.db"), reports=None, verify=None)
        done = migrate(origin, goal, settings=settings)
    assert done.records == rows, f"{done.records} of {rows}"
    return rows / done.seconds["copy"]


def medians(rounds: Sequence[Round]) -> Round:
    """The median of each figure over the rounds."""
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def told(given: argparse.Namespace, rows: int, found: Round, **more: float) -> None:
    """Print every figure, then all of them as one line of JSON; `more` as they are, behind the others."""
    shown = {name: round(value, 3) if value < 2 else round(value) for name, value in found.items()} | more
    for name, value in shown.items():
        print(f"{name:>24} {value:>12,}")
    print(json.dumps({"rows": rows, "dim": given.dim, "rounds": given.rounds, "compiled": COMPILED, **shown}))


def machine() -> dict[str, Any]:
    """The machine that the figures are of."""
    found = this_machine()
    return {"processor": found.processor, "cores": found.cores, "python": found.python}
