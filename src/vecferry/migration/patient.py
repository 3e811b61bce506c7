"""A look at a whole store takes as long as a copy of it: what breaks off meanwhile is tried again, as in a copy."""

from __future__ import annotations

from collections.abc import Iterable

from vecferry.engine.model import Options
from vecferry.engine.stop import Stop
from vecferry.events import Observer
from vecferry.model import Chunk
from vecferry.planning.profile import Chunks
from vecferry.protocols import Source
from vecferry.verification.tries import Tries


def patiently(observer: Observer, *, stop: Stop | None = None, deadline_seconds: float | None = None) -> Chunks:
    """How an inspection reads a source.

    It gives up where `stop` asks for it, or after `deadline_seconds` (as a copy's by default) without a chunk.
    """
    seconds = Options().deadline_seconds if deadline_seconds is None else deadline_seconds

    def chunks(source: Source) -> Iterable[Chunk]:
        name = source.describe().qualified_name
        tries = Tries(name, stop=stop or Stop(), deadline_seconds=seconds, observer=observer, work="Inspection")
        return tries.chunks(source)

    return chunks
