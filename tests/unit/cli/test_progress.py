"""What a person and a program are told while it runs: lines in a pipe, bars on a terminal, objects in a file."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from vecferry import events, progress
from vecferry.errors import ConfigError
from vecferry.events import Event, Stage

COPY = (
    events.RunStarted(run="r1", resumed=False, records=10, done=0),
    events.StageStarted(stage=Stage.COPY, collection="docs", records=10),
    events.Progress(stage=Stage.COPY, collection="docs", records=4),
    events.Progress(stage=Stage.COPY, collection="docs", records=6),
    events.StageFinished(stage=Stage.COPY, collection="docs", records=10, seconds=0.25),
)


def lines(*told: Event, every: float = 0.0) -> list[str]:
    stream = io.StringIO()
    observe = progress.Lines(stream, every=every)
    for event in told:
        observe(event)
    return stream.getvalue().splitlines()


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r"run\.jsonl cannot be written.*\n.*--log"),
        progress.observer(Console(), quiet=True, log=tmp_path / "missing" / "run.jsonl"),
    ):
        pass


def test_a_stage_ends_with_one_line() -> None:
    assert lines(*COPY, every=1000) == ["copy docs: 10 records in 0.2 s"]


def test_progress_is_told_with_rate_and_time_left() -> None:
    first, second, _ = lines(*COPY)
    assert first.startswith("copy docs: 4 of 10 records, ")
    assert "/s, " in first
    assert first.endswith(" left")
    assert second.startswith("copy docs: 10 of 10 records, ")


@pytest.mark.parametrize(
    "event, said",
    [
        (events.RunStarted(run="r1", resumed=True, records=1200, done=1000), "Resuming run r1: 1,000 of 1,200 records"),
        (
            events.Retried(collection="c", partition="p", attempt=2, wait=1.5, error="It is down."),
            "Trying again in 1.5 s",
        ),
        (events.Rejected(collection="c", id="x", reason="too large"), "c: record 'x' set aside: too large"),
        (events.Notice(message="Hello.", collection="c"), "c: Hello."),
        (events.Notice(message="Hello."), "Hello."),
    ],
)
def test_what_a_person_should_read(event: Event, said: str) -> None:
    (line,) = lines(event)
    assert line.startswith(said) or said in line


@pytest.mark.parametrize("event", [COPY[0], events.Paced(in_flight=2, batch_bytes=9, reason="slow")])
def test_what_is_of_no_interest_is_not_said(event: Event) -> None:
    assert lines(event) == []


EASED = events.Eased(collection="docs", per_second=1250.0, p95=0.0123, p95_of_all=0.011, idle=0.01, bound=0.015, cuts=2)


def test_the_pace_of_the_source_stands_beside_the_progress() -> None:
    """No line of its own: it changes every few seconds."""
    (line,) = lines(EASED, COPY[2])
    assert line.endswith("; pace 1,250/s, source's p95 12.3 of 15.0 ms")
    console = Console(file=io.StringIO(), force_terminal=True, width=150)
    with progress.bars(console) as observe:
        observe(EASED)
        observe(COPY[2])
    assert isinstance(console.file, io.StringIO)
    assert "(pace 1,250/s, source's p95 12.3 of 15.0 ms)" in console.file.getvalue()


def test_json_lines_hold_every_field_of_every_event() -> None:
    stream = io.StringIO()
    observe = progress.json_lines(stream)
    for event in COPY:
        observe(event)
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [one["event"] for one in told] == [type(event).__name__ for event in COPY]
    assert told[2] == {
        "event": "Progress", "at": COPY[2].at, "stage": "copy", "collection": "docs", "records": 4, "bytes": 0,
    }  # fmt: skip


def test_a_log_grows_and_quiet_keeps_the_screen_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "events.jsonl"
    for _ in range(2):
        with progress.observer(Console(stderr=True), quiet=True, log=log) as observe:
            observe(COPY[0])
    assert len(log.read_text().splitlines()) == 2
    assert capsys.readouterr() == ("", "")


def test_bars_survive_names_and_messages_that_look_like_markup() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=150)
    name = "[red]docs[/] [unclosed"
    with progress.bars(console) as observe:
        observe(events.StageStarted(stage=Stage.COPY, collection=name, records=2))
        observe(events.Progress(stage=Stage.COPY, collection=name, records=2))
        observe(events.Progress(stage=Stage.INDEX, collection=name, records=1))  # a stage whose start nobody told
        observe(events.StageFinished(stage=Stage.COPY, collection=name, records=2, seconds=1.0))
        observe(events.Notice(message="[/] is not markup"))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "[red]docs[/] [unclosed" in shown
    assert "[/] is not markup" in shown


@pytest.mark.parametrize(
    "seconds, said",
    [
        (-1, "0.0 s"), (0.04, "0.0 s"), (9.94, "9.9 s"), (9.99, "10 s"), (59.4, "59 s"), (59.6, "1 min 0 s"),
        (185, "3 min 5 s"), (3599.6, "1 h 0 min"), (7800, "2 h 10 min"), (90_000, "25 h 0 min"),
    ],
)  # fmt: skip
def test_durations(seconds: float, said: str) -> None:
    assert progress.duration(seconds) == said


@pytest.mark.parametrize(
    "number, said",
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_999, "1.0 MB"),
        (51_600_000, "51.6 MB"), (2.5e12, "2.5 TB"), (5e15, "5000.0 TB"),
    ],
)  # fmt: skip
def test_sizes(number: float, said: str) -> None:
    assert progress.size(number) == said
