"""A source read so that the application beside us does not feel it: `--pace` (docs/adr/0028).

Whatever reads the source, to inspect, back up, copy or verify it, waits for its turn here, chunk by chunk; the engine
spreads what it writes by the same pace. What the pace is follows from the searches of `asking`, told to
`vecferry.engine.gentle`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from vecferry.engine.gentle import Gentle
from vecferry.engine.pace import Rate
from vecferry.engine.stop import Stop, interrupted
from vecferry.errors import Unsupported
from vecferry.events import Eased, Notice, Observer
from vecferry.migration import asking
from vecferry.migration.asking import Asker, Question
from vecferry.migration.settings import Settings
from vecferry.migration.stores import shown
from vecferry.model import Chunk, CollectionSpec, Element, Hit, Partition, Position, VectorKind, VectorSpec
from vecferry.planning.patterns import parse_patterns
from vecferry.protocols import Askable, Database, Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vecferry.state.run import Run

T = TypeVar("T")
_BURST_S = 0.1
"""A batch holds what may be sent in so long: many small ones are felt less than few large ones."""
_REST = 3
"""Behind a search or a count of ours the source rests for so many times as long."""
_TELL_S = 2.0
_NOTE_S = 10.0
"""Seconds between two notes in the ledger, which keeps a bounded number of events."""
_HINT = "Leave --pace out and limit the reading with --rate RECORDS."


@contextmanager
def gently(
    origin: Database, url: str, settings: Settings, *, observer: Observer, stop: Stop
) -> Iterator[tuple[Database, Watch | None]]:
    """`origin` as it is read at the pace of the settings, and who watches it; as it is where they say none.

    Raises:
        Unsupported: the source cannot be asked how long its searches take, or these take too long.
        ConfigError: the bound lies below what its searches take anyway.
    """
    if settings.pace is None or settings.pace.full:
        yield origin, None
        return
    spec, vector = _asked(origin, url, settings)
    name = spec.qualified_name
    observer(Notice(collection=name, message="Measuring how long its searches take before it is read (--pace)."))
    with Asker(Question(url, name, vector.name, asking.PAUSE_S)) as asker:
        idle = asker.idle(stop)
        gentle = Gentle(settings.pace.of(idle), ceiling=settings.engine.rate)
        watch = Watch(name, asker, idle, gentle, observer=observer, stop=stop)
        try:
            yield watch.over(origin), watch
        finally:
            watch.close()


def _asked(origin: Database, url: str, settings: Settings) -> tuple[CollectionSpec, VectorSpec]:
    """The collection and the vector that searches are about: the largest of those that are moved, as far as is known.

    Raises:
        Unsupported: there is none that can be asked.
    """
    patterns = parse_patterns(settings.plan.collections)
    able = [(spec, vector) for spec in origin.collections() if (vector := _searched(spec)) is not None and spec.count]
    wanted = [one for one in able if any(pattern.fits(one[0]) for pattern in patterns)] or able
    if wanted:
        spec, vector = max(wanted, key=lambda one: one[0].count or 0)
        with closing(origin.source(spec.qualified_name)) as source:
            if isinstance(source, Askable):
                return spec, vector
    raise Unsupported(
        f"{shown(url)} cannot be asked how long its searches take, so --pace {settings.pace} cannot be kept.",
        hint=_HINT,
    )


def _searched(spec: CollectionSpec) -> VectorSpec | None:
    """The vector of a collection that an application would search by."""
    return next(
        (one for one in spec.vectors if one.kind is VectorKind.DENSE and one.dim and one.element in _SEARCHED), None
    )


_SEARCHED = frozenset({Element.FLOAT32, Element.FLOAT16})


class Watch:
    """Adapts the pace at which a source is read to what its searches take, until it is closed. Thread-safe.

    Attributes:
        rate: of what is written, for the engine.
    """

    def __init__(self, name: str, asker: Asker, idle: float, gentle: Gentle, *, observer: Observer, stop: Stop) -> None:
        self._name, self._asker, self._idle, self._gentle = name, asker, idle, gentle
        self._observer, self._stop = observer, stop
        self.rate = Rate(gentle.pace, burst_seconds=_BURST_S)
        self._reading = Rate(gentle.pace)
        self._read = 0
        self._lock = threading.Lock()
        self._run: Run | None = None
        self._told_at = self._noted_at = 0.0
        self._closed = False
        self._thread = threading.Thread(target=self._watch, name="vecferry-pace", daemon=True)
        self._tell("")
        self._thread.start()

    def noted_in(self, run: Run) -> None:
        """From now on the pace is noted in the history of `run` too."""
        self._run = run
        self.tell()

    def tell(self) -> None:
        """Say what became of the pace, in the history of the run too."""
        self._noted_at = 0.0
        self._tell("")

    def close(self) -> None:
        """Watch no longer."""
        self._closed = True
        self._asker.close()  # ends the answers, and with them the thread
        self._thread.join()

    # ----------------------------------------------------------------------- on the watching thread

    def _watch(self) -> None:
        late, rest = 1.0 + 8 * self._gentle.bound, 0.0
        while not self._closed:
            try:
                answer = self._asker.answer(rest + late)
                rest = asking.REST * answer if isinstance(answer, float) else 0.0
            except TimeoutError:
                answer, rest = late, 0.0  # the one that is under way has taken so long already
            if answer is None:
                if not self._closed:
                    told = f"It is asked no longer; the pace stays at {self._gentle.pace:,.0f} records a second."
                    self._observer(Notice(collection=self._name, message=told, level="warning"))
                return
            if isinstance(answer, float):
                self._saw(answer)

    def _saw(self, seconds: float) -> None:
        now = time.monotonic()
        reason = self._gentle.saw(seconds, now=now, read=self._read)
        self.rate.per_second = self._reading.per_second = self._gentle.pace
        if reason or now - self._told_at >= _TELL_S:
            self._tell(reason)

    def _tell(self, reason: str) -> None:
        gentle, self._told_at = self._gentle, time.monotonic()
        event = Eased(
            collection=self._name,
            per_second=round(gentle.pace, 1),
            p95=round(gentle.p95, 6),
            p95_of_all=round(gentle.p95_of_all, 6),
            idle=round(self._idle, 6),
            bound=round(gentle.bound, 6),
            cuts=gentle.cuts,
            reason=reason,
        )
        self._observer(event)
        if self._run is not None and self._told_at - self._noted_at >= _NOTE_S:
            self._noted_at = self._told_at
            self._run.note(event)

    # ----------------------------------------------------------------------- for who reads

    def over(self, database: Database) -> Database:
        """`database`, with all its powers, whose sources are read at this pace."""
        return cast(Database, _like(database, source=lambda name: self._paced(database.source(name))))

    def _paced(self, source: Source) -> Source:
        held: Any = source
        others = {name: partial(self._rested, getattr(held, name)) for name in _HEAVY if hasattr(held, name)}
        if hasattr(held, "search"):
            others["search"] = partial(self._searched, held.search)
        return cast(Source, _like(source, read=partial(self._chunks, source), **others))

    def _chunks(self, source: Source, partition: Partition, *, after: Position | None = None) -> Iterator[Chunk]:
        for chunk in source.read(partition, after=after):
            rows = chunk.batch.num_rows + len(chunk.rejected)
            if not self._reading.take(rows, self._stop):
                raise interrupted("Stopped on request while the source was read.")
            with self._lock:
                self._read += rows
            yield chunk

    def _searched(
        self, search: Callable[..., list[list[Hit]]], queries: NDArray[np.float32], **options: Any
    ) -> list[list[Hit]]:
        """One query after the other, with a rest behind each."""
        return [hits for row in range(len(queries)) for hits in self._rested(search, queries[row : row + 1], **options)]

    def _rested(self, call: Callable[..., T], *arguments: Any, **options: Any) -> T:
        began = time.monotonic()
        found = call(*arguments, **options)
        self._stop.sleep(_REST * (time.monotonic() - began))
        return found


_HEAVY = ("count_where", "fetch", "existing")


def _like(thing: object, **others: Callable[..., Any]) -> object:
    """`thing` with other methods in the place of some. A power is told by the attributes of a class, so it gets one."""
    names: Sequence[str] = [name for name in dir(thing) if not name.startswith("_")]
    members = {name: property(partial(_attribute, thing, name)) for name in names}
    members |= {name: property(partial(_other, method)) for name, method in others.items()}
    return type(type(thing).__name__, (), members)()


def _attribute(thing: object, name: str, _: object) -> Any:
    return getattr(thing, name)


def _other(method: Callable[..., Any], _: object) -> Any:
    return method
