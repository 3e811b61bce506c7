"""`doctor`: what is installed, does each store answer, and does it do everything a migration needs.

Every failure carries its likely cause and the fix; docs/how-to/troubleshooting.md is the same list.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

import numpy as np

from vecferry import arrow
from vecferry.errors import VecferryError
from vecferry.filters import Compare, Op
from vecferry.limits import Limits
from vecferry.model import Card, CollectionSpec, Element, FieldIndex, IndexKind, Metric, Record, VectorSpec
from vecferry.protocols import (
    Countable,
    Database,
    Deletable,
    Droppable,
    FilterCountable,
    Guarded,
    Pinnable,
    Searchable,
    Sink,
    Source,
)
from vecferry.registry import open_database
from vecferry.url import StoreUrl
from vecferry.version import __version__

_BRINGS = re.compile(r"([\w.-]+)[^;]*; *extra == ['\"]([\w-]+)['\"]")
"""A requirement of an extra, as the installed package's own metadata says it; not of some versions of Python only."""
_NOT_FOR_STORES = {"all", "testing"}

SCRATCH_RECORDS = 200
SCRATCH_DIM = 32
BIG_REQUEST = 1000
"""Records of 768 dimensions in the quota probe's one request, about 3 MB."""


class State(StrEnum):
    """How a step ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing looked at. `milliseconds` is None where time says nothing."""

    name: str
    state: State
    detail: str = ""
    hint: str = ""
    milliseconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """All steps for one subject: this installation, or one store."""

    subject: str
    steps: tuple[Step, ...] = field(default_factory=tuple)

    @property
    def healthy(self) -> bool:
        return all(step.state is not State.FAILED for step in self.steps)


def examine(urls: Sequence[str] = (), *, write: bool = False) -> list[Examination]:
    """Look at this installation and at each store of `urls`; never raises for a store that is ill.

    `write` makes a scratch collection in each store, runs create, upsert, search, filter and delete on it, and
    removes it.
    """
    return [_installation(), *(_store(url, write=write) for url in urls)]


def _installation() -> Examination:
    here = f"vecferry {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    return Examination(subject=here, steps=tuple(_extra(name, packages) for name, packages in extras().items()))


def extras() -> dict[str, list[str]]:
    """Extra of a store -> the distributions that it brings beyond vecferry's own; empty where nothing was installed."""
    try:
        said = importlib.metadata.metadata("vecferry")
    except importlib.metadata.PackageNotFoundError:  # run from a folder of sources
        return {}
    found: dict[str, list[str]] = {
        name: [] for name in said.get_all("Provides-Extra", ()) if name not in _NOT_FOR_STORES
    }
    for requirement in said.get_all("Requires-Dist", ()):
        match = _BRINGS.fullmatch(requirement)
        if match and match[2] in found:
            found[match[2]].append(match[1])
    return found


def _extra(name: str, packages: Sequence[str]) -> Step:
    try:
        found = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)
    except importlib.metadata.PackageNotFoundError:
        return Step(
            name=f"extra {name}", state=State.SKIPPED, detail="not installed", hint=f'pip install "vecferry[{name}]"'
        )
    return Step(name=f"extra {name}", state=State.OK, detail=found or "needs nothing more")


def _store(url: str, *, write: bool) -> Examination:
    steps: list[Step] = []
    try:
        parsed = StoreUrl.parse(url)
    except VecferryError as error:
        return Examination(subject="a store", steps=(_failed("address", error),))
    try:
        began = time.monotonic()
        database = open_database(parsed)
        took = _ms(began)
    except VecferryError as error:
        return Examination(subject=str(parsed), steps=(_failed("connection", error),))
    with closing(database):
        known = database.identity
        detail = " ".join(part for part in (known.kind, known.version, f"over {known.transport}") if part)
        steps.append(Step(name="connection", state=State.OK, detail=detail, milliseconds=took))
        steps += _place(parsed)
        for look in (_guard, _listing, _limits):
            steps += _safely(look, database)
        steps += _scratch(database) if write else ()
    return Examination(subject=str(parsed), steps=tuple(steps))


def _place(url: StoreUrl) -> list[Step]:
    """A folder that is not there yet is no fault of a target, and a typing error in a source."""
    if url.host is not None or url.scheme == "memory" or url.local_path.exists():
        return []
    hint = "Right for a target: the first write makes it. For a source, check the path."
    return [Step(name="folder", state=State.WARNING, detail=f"{url.local_path} does not exist", hint=hint)]


def _safely(look: Callable[[Database], Iterator[Step]], database: Database) -> Iterator[Step]:
    """The steps of `look`; an error becomes the last of them."""
    try:
        yield from look(database)
    except VecferryError as error:
        yield _failed(look.__name__.strip("_"), error)


def _guard(database: Database) -> Iterator[Step]:
    """Does the server ask for the key that we send?"""
    if not isinstance(database, Guarded):
        return
    answers = database.answers_without_key()
    if answers is None:
        yield Step(name="authentication", state=State.OK, detail="no key given, none asked for")
    elif answers:
        yield Step(
            name="authentication",
            state=State.WARNING,
            detail="a key is set, but the server answers without it: anybody who reaches it can read and write",
            hint="Set the server's own api key, and keep the port closed to the outside.",
        )
    else:
        yield Step(name="authentication", state=State.OK, detail="the key is asked for and accepted")


def _listing(database: Database) -> Iterator[Step]:
    began = time.monotonic()
    found = list(database.collections())
    records = sum(spec.count or 0 for spec in found)
    yield Step(
        name="collections",
        state=State.OK,
        detail=f"{len(found):,} collections, {records:,} records",
        milliseconds=_ms(began),
    )


def _limits(database: Database) -> Iterator[Step]:
    limits = database.limits
    facts = {
        "dimensions up to": limits.max_dim,
        "documents up to (bytes)": limits.document_bytes,
        "requests up to (bytes)": limits.request_bytes,
        "records per request": limits.request_records,
    }
    shown = ", ".join(f"{name} {value:,}" for name, value in facts.items() if value)
    yield Step(name="limits", state=State.OK, detail=shown or "none known")


# --------------------------------------------------------------------------- the scratch collection

Result = TypeVar("Result")


class _Clock:
    """Times one step after another and remembers them."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def time(self, name: str, action: Callable[[], Result], detail: Callable[[Result], str] = lambda _: "") -> Result:
        began = time.monotonic()
        result = action()
        self.steps.append(Step(name=name, state=State.OK, detail=detail(result), milliseconds=_ms(began)))
        return result


def _scratch(database: Database) -> list[Step]:
    """Create, upsert, search, filter and delete on a collection of our own, removed whatever happens."""
    if isinstance(database, Pinnable) and database.identity.transport == "file":
        detail = "a directory that an app may be using is read from a snapshot, and never written to here"
        return [Step(name="write", state=State.SKIPPED, detail=detail)]
    if not isinstance(database, Droppable):
        return [Step(name="write", state=State.SKIPPED, detail=f"{database.identity.kind} cannot drop a collection")]
    spec = _scratch_spec(f"vecferry-doctor-{secrets.token_hex(4)}", SCRATCH_DIM, database.limits)
    clock = _Clock()
    try:
        with _removed(database, spec.name):
            _exercise(database, spec, clock)
        _quota(database, clock)
    except VecferryError as error:
        clock.steps.append(_failed("write", error))
    return clock.steps


@contextmanager
def _removed(database: Droppable, name: str) -> Iterator[None]:
    """Drop the scratch collection whatever happens; what happened first is what is reported."""
    try:
        yield
    except BaseException:
        with suppress(VecferryError):
            database.drop(name)
        raise
    database.drop(name)


def _scratch_spec(name: str, dim: int, limits: Limits) -> CollectionSpec:
    metric = Metric.COSINE if Metric.COSINE in limits.metrics else min(limits.metrics)
    vectors = (VectorSpec(dim=dim, metric=metric, element=Element.FLOAT32),)
    card = Card(vecferry=__version__, vectors=vectors, key_types={"group": {"int": SCRATCH_RECORDS}})
    return CollectionSpec(
        name=name, vectors=vectors, card=card, indexes=(FieldIndex(key="group", kind=IndexKind.INTEGER),)
    )


def _exercise(database: Database, spec: CollectionSpec, clock: _Clock) -> None:
    with closing(database.sink(spec)) as sink:
        clock.time("create", lambda: sink.prepare(spec))
        batch = arrow.from_records(spec, _records(SCRATCH_RECORDS, SCRATCH_DIM))
        clock.time("upsert", lambda: sink.write(batch), lambda receipt: f"{receipt.rows:,} records")
        clock.time("index", sink.finish)
        with closing(database.source(spec.name)) as source:
            _read(source, arrow.dense(batch, spec.vectors[0]), clock)
        _delete(database, sink, spec, clock)


def _read(source: Source, vectors: np.ndarray, clock: _Clock) -> None:
    if isinstance(source, Searchable):
        hits = clock.time("search", lambda: source.search(vectors[:1], k=5), lambda h: f"{len(h[0])} hits")
        if not hits[0] or hits[0][0].id != "scratch-0":
            clock.steps.append(
                Step(name="search", state=State.FAILED, detail="a record is not its own nearest neighbour")
            )
    if isinstance(source, FilterCountable):
        node = Compare("group", Op.EQ, 1)
        clock.time("filter", lambda: source.count_where(node), lambda n: f"{n:,} of {SCRATCH_RECORDS} match")


def _delete(database: Database, sink: Sink, spec: CollectionSpec, clock: _Clock) -> None:
    if isinstance(sink, Deletable):
        clock.time("delete", lambda: sink.delete(["scratch-0"]))
    with closing(database.source(spec.name)) as source:
        left = source.count() if isinstance(source, Countable) else None
    if left is not None and left != SCRATCH_RECORDS - isinstance(sink, Deletable):
        clock.steps.append(Step(name="count", state=State.FAILED, detail=f"{left} records are left after the delete"))


def _quota(database: Database, clock: _Clock) -> None:
    """One large request, as a migration sends them."""
    assert isinstance(database, Droppable)
    spec = _scratch_spec(f"vecferry-doctor-{secrets.token_hex(4)}", 768, database.limits)
    with _removed(database, spec.name), closing(database.sink(spec)) as sink:
        sink.prepare(spec)
        batch = arrow.from_records(spec, _records(BIG_REQUEST, 768))
        clock.time("quota", lambda: sink.write(batch), lambda r: f"{r.rows:,} records, {r.bytes:,} bytes at once")


def _records(count: int, dim: int) -> list[Record]:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((count, dim)).astype(np.float32)
    return [
        Record(id=f"scratch-{i}", seq=i, vectors={"": values[i]}, document=f"record {i}", metadata={"group": i % 10})
        for i in range(count)
    ]


def _failed(name: str, error: VecferryError) -> Step:
    return Step(name=name, state=State.FAILED, detail=error.message, hint=error.hint or "")


def _ms(began: float) -> float:
    return (time.monotonic() - began) * 1000
