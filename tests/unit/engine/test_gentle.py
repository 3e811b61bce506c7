"""The pace at which a source is read, against a source that is played: it converges, recovers, and never stops."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from vecferry.engine.gentle import FLOOR, START, WINDOW, Bound, Gentle, p95
from vecferry.errors import ConfigError

IDLE = 0.01
FACTOR = 1.5


@dataclass
class Source:
    """Its searches take `idle / (1 - share of its capacity that is read)`, give or take `noise`: one queue.

    `capacity` in records per second, `most` what the other end takes, both by the seconds since the beginning.
    """

    capacity: Callable[[float], float]
    most: Callable[[float], float] = lambda _: 1e9
    idle: float = IDLE
    noise: float = 0.1
    seed: int = 1
    now: float = 0.0
    read: float = 0.0
    paces: list[float] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def searched(self, pace: float) -> float:
        capacity = self.capacity(self.now)
        reading = min(pace, self.most(self.now), 0.98 * capacity)
        seconds = self.idle / (1 - reading / capacity) * self._random.lognormvariate(0, self.noise)
        self.now += seconds + 0.15
        self.read += reading * (seconds + 0.15)
        self.paces.append(pace)
        self.answers.append(seconds)
        return seconds

    def run(self, gentle: Gentle, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            gentle.saw(self.searched(gentle.pace), now=self.now, read=int(self.read))


def settled(source: Source) -> float:
    """The mean pace of the last half."""
    last = source.paces[len(source.paces) // 2 :]
    return sum(last) / len(last)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("capacity", [900.0, 3_000.0, 60_000.0])
def test_it_finds_the_pace_that_the_source_bears(capacity: float, seed: int) -> None:
    """A third of the capacity makes searches 1.5 times as slow; noise and caution cost some of that."""
    source, gentle = Source(lambda _: capacity, seed=seed), Gentle(FACTOR * IDLE)
    source.run(gentle, 400)
    assert 0.35 * capacity / 3 < settled(source) < 1.05 * capacity / 3
    assert gentle.cuts > 0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noise", [0.02, 0.1, 0.25])
def test_the_p95_of_all_answers_stays_below_the_bound(noise: float, seed: int) -> None:
    """Against the p95 that the same source has at rest, the search for the pace at the beginning included."""
    rest = Source(lambda _: 1e9, noise=noise, seed=seed)
    idle = p95([rest.searched(0) for _ in range(1000)])
    source, gentle = Source(lambda _: 3_000, noise=noise, seed=seed), Gentle(FACTOR * idle)
    source.run(gentle, 400)
    assert p95(source.answers) <= FACTOR * idle * 1.02
    assert gentle.p95_of_all == pytest.approx(p95(source.answers), rel=0.03)


def test_it_recovers_when_the_source_has_time_again() -> None:
    """Five minutes in which an application leaves it a tenth of what it has before and after."""
    source, gentle = Source(lambda now: 600 if 300 < now < 600 else 6_000), Gentle(FACTOR * IDLE)
    source.run(gentle, 300)
    before = gentle.pace
    source.run(gentle, 300)
    assert gentle.pace < before / 3
    source.run(gentle, 1200)
    assert settled(source) > 0.35 * 6_000 / 3


def test_it_never_stops() -> None:
    """A source that is too slow whatever is done is read at the floor, and no cut below it is counted."""
    source, gentle = Source(lambda _: 1e9, idle=1.0), Gentle(FACTOR * IDLE)
    source.run(gentle, 300)
    assert gentle.pace == FLOOR
    assert gentle.cuts == 2, "from 200 to 100 to 50"


def test_a_rate_is_the_ceiling() -> None:
    source, gentle = Source(lambda _: 1e9), Gentle(FACTOR * IDLE, ceiling=700)
    source.run(gentle, 200)
    assert gentle.pace == max(source.paces) == 700
    assert Gentle(FACTOR * IDLE, ceiling=10).pace == 10
    slow = Gentle(FACTOR * IDLE, ceiling=10)
    Source(lambda _: 1e9, idle=1.0).run(slow, 100)
    assert (slow.pace, slow.cuts) == (10, 0), "a rate below the floor is kept to as it is"


def test_a_pace_that_is_not_used_does_not_grow() -> None:
    """Else it would be far above what is read, and the next cuts would change nothing."""
    source, gentle = Source(lambda _: 1e9, most=lambda _: 1_000), Gentle(FACTOR * IDLE)
    source.run(gentle, 300)
    assert max(source.paces) <= 4_000


def test_what_happens_while_nothing_is_read_changes_nothing() -> None:
    """An index that is built on the same machine makes the source slow; reading less would not help."""
    gentle = Gentle(FACTOR * IDLE)
    reasons = [gentle.saw(10 * IDLE, now=0.2 * n, read=0) for n in range(100)]
    assert (gentle.pace, gentle.cuts, gentle.p95_of_all, set(reasons)) == (START, 0, 0.0, {""})


def test_a_cut_does_not_wait_for_the_end_of_the_window() -> None:
    """The second answer of a window above the bound settles what its p95 will be."""
    gentle = Gentle(FACTOR * IDLE)
    reasons = [gentle.saw(IDLE * factor, now=0.2 * n, read=100 * n) for n, factor in enumerate((1, 2, 1, 2, 1))]
    assert reasons == ["", "", "", "the source answers slowly", ""]
    assert gentle.p95 == 2 * IDLE


def test_one_slow_answer_of_a_window_is_none() -> None:
    gentle = Gentle(FACTOR * IDLE)
    for n in range(10 * WINDOW):
        gentle.saw(IDLE * (3 if n % WINDOW == 7 else 1), now=0.2 * n, read=10_000 * n)
    assert gentle.cuts == 0
    assert gentle.pace > START


@pytest.mark.parametrize(
    "text, bound",
    [("gentle", Bound(times=1.5)), ("2x", Bound(times=2)), ("1.25x", Bound(times=1.25)), ("20ms", Bound(seconds=0.02))],
)
def test_a_bound_is_a_factor_or_a_time(text: str, bound: Bound) -> None:
    assert Bound.parse(text) == bound
    assert Bound.parse(str(bound)) == bound, "as it is remembered"
    assert bound.of(0.01) == pytest.approx(bound.seconds or 0.01 * (bound.times or 0))


def test_full_is_no_bound() -> None:
    assert Bound.parse("full").full
    assert str(Bound.parse("full")) == "full"
    assert not Bound.parse("gentle").full


@pytest.mark.parametrize("text", ["", "slow", "1x", "0.5x", "0ms", "-2x", "2", "20 ms", "nanx", "1e9x"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is no pace") as caught:
        Bound.parse(text)
    assert "gentle" in str(caught.value.hint)


def test_a_bound_that_the_source_cannot_keep_at_rest_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"take 30\.0 ms at p95 before anything is read: --pace 20ms"):
        Bound(seconds=0.02).of(0.03)
