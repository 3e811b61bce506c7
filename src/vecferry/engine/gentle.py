"""How fast a source may be read, by how long its own searches take meanwhile. Pure: it is told what was measured.

Additive increase, multiplicative decrease, as TCP does it: doubled until the first cut, then a sixteenth of what the
last cut left for each window of quick answers. A window is `WINDOW` answers, fewer before the first cut; its p95 by
nearest rank is above the bound as soon as a second answer of it is, so a cut never waits for the window's end
(docs/adr/0028).
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, inf, log

from vecferry.errors import ConfigError

START = 200.0
FLOOR = 50.0
"""Records per second: it is never read slower, so that every run ends."""
WINDOW = 20
_FIRST_WINDOW = 8
_SLOW_ONES = WINDOW - ceil(0.95 * WINDOW)
"""Answers of a window that may be slower than the bound while its p95 is not."""
_SETTLING = 2
"""Answers after a cut that still tell of what was read before it."""
_CUT = 0.5
_STEPS = 16
_USED = 0.5
"""The share of the pace that must have been read for a window to tell anything of a higher one."""
_BUCKETS = 1.02


@dataclass(frozen=True, slots=True)
class Bound:
    """What the p95 of a source's searches may become: so many times its idle value, or so many seconds; or anything."""

    times: float | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, text: str) -> Bound:
        """`full` (no bound), `gentle`, `2x` or `20ms`.

        Raises:
            ConfigError: none of these.
        """
        if text in _NAMED:
            return cls(times=_NAMED[text])
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(x|ms)", text)
        number = float(found[1]) if found else 0.0
        if found is None or number <= (1 if found[2] == "x" else 0):
            raise ConfigError(
                f"'{text}' is no pace.",
                hint="Write full, gentle, a factor above 1 such as 2x, or milliseconds such as 20ms.",
            )
        return cls(times=number) if found[2] == "x" else cls(seconds=number / 1000)

    @property
    def full(self) -> bool:
        """Is there no bound?"""
        return self == Bound()

    def __str__(self) -> str:
        if self.full:
            return "full"
        return f"{self.times:g}x" if self.times is not None else f"{(self.seconds or 0) * 1000:g}ms"

    def of(self, idle: float) -> float:
        """In seconds, where the idle p95 is `idle` seconds. Not for `full`, which is none.

        Raises:
            ConfigError: the source takes longer than that when nothing is read.
        """
        bound = idle * self.times if self.times is not None else self.seconds or 0.0
        if bound <= idle:
            raise ConfigError(
                f"The source's searches take {idle * 1000:.1f} ms at p95 before anything is read: --pace {self} cannot "
                "be kept.",
                hint="Give more milliseconds, or a factor such as --pace 1.5x.",
            )
        return bound


_NAMED = {"full": None, "gentle": 1.5}


def p95(seconds: Sequence[float]) -> float:
    """The 95th percentile by nearest rank; 0 of nothing."""
    return sorted(seconds)[ceil(0.95 * len(seconds)) - 1] if seconds else 0.0


class Gentle:
    """The pace of one source. `saw` is told of every answer; `pace` is what follows from them.

    Attributes:
        pace: records per second that may be read, from `FLOOR` to `ceiling`.
        cuts: how often it was made less.
    """

    def __init__(self, bound: float, *, ceiling: float | None = None) -> None:
        self.bound = bound
        self._ceiling = ceiling or inf
        self.pace = min(START, self._ceiling)
        self.cuts = 0
        self._step = 0.0
        self._begun = (0.0, 0)
        self._window: list[float] | None = None
        self._late = 0
        self._settling = 0
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self._all: Counter[int] = Counter()

    @property
    def p95(self) -> float:
        """Of the latest answers, in seconds."""
        return p95(self._recent)

    @property
    def p95_of_all(self) -> float:
        """Of every answer that came while records were read, in seconds, to within 1 %."""
        left = ceil(0.95 * self._all.total())
        for bucket in sorted(self._all):
            left -= self._all[bucket]
            if left <= 0:
                return float(_BUCKETS ** (bucket + 0.5))
        return 0.0

    def saw(self, seconds: float, *, now: float, read: int) -> str:
        """An answer took `seconds`, at `now`, when `read` records were read in all. Why the pace changed, or ""."""
        if self._window is None:
            self._begin(now, read)
        assert self._window is not None
        self._recent.append(seconds)
        if read > self._begun[1]:
            self._all[floor(log(max(seconds, 1e-6), _BUCKETS))] += 1
        if self._settling:
            self._settling -= 1
            return ""
        self._window.append(seconds)
        self._late += seconds > self.bound
        why = self._decide(now, read)
        if why is None:
            return ""
        self._begin(now, read)
        return why

    def _begin(self, now: float, read: int) -> None:
        self._begun, self._window, self._late = (now, read), [], 0

    def _decide(self, now: float, read: int) -> str | None:
        """Why the pace changes, "" where the window ends without a change, None where it goes on."""
        assert self._window is not None
        passed = (read - self._begun[1]) / max(now - self._begun[0], 1e-3)
        if self._late > _SLOW_ONES:
            return self._cut() if passed else ""  # nothing was read: it was not we who made it slow
        if len(self._window) < (WINDOW if self._step else _FIRST_WINDOW):
            return None
        return self._grow() if passed >= _USED * self.pace else ""

    def _cut(self) -> str:
        self._settling = _SETTLING
        before = self.pace
        self.pace = max(min(FLOOR, self._ceiling), before * _CUT)
        self._step = self.pace / _STEPS
        if self.pace == before:
            return ""
        self.cuts += 1
        return "the source answers slowly"

    def _grow(self) -> str:
        before = self.pace
        self.pace = min(self._ceiling, before + (self._step or before))
        return "the source answers quickly" if self.pace > before else ""
