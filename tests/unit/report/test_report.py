"""The report says what happened, no more and no less, and can be read again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import orjson
import pytest

from tests.report_stories import checks, make_story, plan_of
from vecferry.errors import ConfigError, CorruptData, StoreFull
from vecferry.events import Progress, Stage, StageFinished, StageStarted
from vecferry.planning.model import Cell, Policy, Verdict
from vecferry.report import Recorder, VerdictKind, json_schema, of_migration, read_json, to_json, write_html, write_json
from vecferry.report.text import percent, shown
from vecferry.verification import Check, CollectionVerification, Level, State, Verification

SCHEMA = Path(__file__).parents[3] / "docs" / "reference" / "report.schema.json"
NAME = "a"


def _report(*checked: Check, **fields: object):
    """A report of one collection with these checks."""
    verification = Verification(
        collections=(CollectionVerification(source=NAME, target="a", records=10, checks=checked),),
        seconds={"verify": 1.0, "parity": 1.0},
    )
    return of_migration(plan_of({"a": 10}), verification=verification if checked else None, **fields)


def _with(level: Level, state: State, **fields: object) -> list[Check]:
    return [replace(check, state=state, **fields) if check.level is level else check for check in checks(10)]


# --------------------------------------------------------------------------- the verdict


def test_proven_needs_every_check():
    verdict = _report(*checks(10)).verdict
    assert verdict.kind is VerdictKind.PROVEN
    assert verdict.sentence.startswith("All 10 records of 1 collection were compared and are in the target")


@pytest.mark.parametrize(
    "level,state,kind",
    [
        (Level.CONTENT, State.DIFFERENT, VerdictKind.DIFFERENT),
        (Level.CONTENT, State.NOT_CHECKED, VerdictKind.INCOMPLETE),
        (Level.ORDER, State.NOT_CHECKED, VerdictKind.INCOMPLETE),
        (Level.ORDER, State.NOT_APPLICABLE, VerdictKind.PROVEN),
        (Level.SEARCH, State.NOT_CHECKED, VerdictKind.RECORDS_PROVEN),
        (Level.FILTERS, State.DIFFERENT, VerdictKind.DIFFERENT),
    ],
)
def test_what_was_not_checked_is_never_called_proven(level, state, kind):
    differences = 1 if state is State.DIFFERENT else 0
    report = _report(*_with(level, state, differences=differences))
    assert report.verdict.kind is kind
    if state is State.NOT_CHECKED:
        assert {"content": "content", "order": "order", "search": "searches"}[level] in report.verdict.sentence


def test_no_verification_is_said_first():
    report = _report()
    assert report.verdict.kind is VerdictKind.NOT_VERIFIED
    assert report.differences is None


def test_a_collection_that_was_left_out_keeps_the_whole_from_being_proven():
    verification = Verification(
        collections=(CollectionVerification(source=NAME, target="a", records=10, checks=checks(10)),)
    )
    report = of_migration(plan_of({"a": 10, "b": 5}), verification=verification)
    assert report.verdict.kind is VerdictKind.INCOMPLETE
    assert "1 collection of 2 was not verified" in report.verdict.sentence


def test_a_poor_index_is_no_loss_but_is_said_in_the_first_sentence():
    verdict = _report(*checks(10, recall=0.456)).verdict
    assert verdict.kind is VerdictKind.PROVEN
    assert "only 45.6 % of the nearest records" in verdict.sentence


def test_accepted_losses_are_never_passed_over(tmp_path):
    plan = plan_of({"a": 10})
    lossy = Cell(
        shape="null-value", verdict=Verdict.LOSSY, count=3, meaning="Nulls are dropped.", policy=Policy.CONVERT
    )
    plan = replace(plan, collections=(replace(plan.collections[0], cells=(lossy,)),))
    verification = Verification(
        collections=(CollectionVerification(source=NAME, target="a", records=10, checks=checks(10)),)
    )
    report = of_migration(plan, verification=verification)
    assert "but for what the plan gave up with consent" in report.verdict.sentence
    assert "Nothing was lost but what was accepted" in write_html(report, tmp_path / "r.html").read_text()


# --------------------------------------------------------------------------- JSON


def test_the_published_schema_is_the_one_of_this_code():
    """Where it fails: `python -m vecferry.report > docs/reference/report.schema.json`, and a line in the changelog."""
    assert json.loads(SCHEMA.read_text()) == json.loads(orjson.dumps(json_schema()))


def test_json_obeys_its_schema_and_comes_back_equal(story, tmp_path):
    raw = to_json(story)
    jsonschema.Draft202012Validator(json_schema()).validate(json.loads(raw))
    assert read_json(write_json(story, tmp_path / "report.json")) == story
    assert json.loads(raw)["verdict"]["kind"] == "different"


def test_a_report_of_a_later_vecferry_is_refused(story, tmp_path):
    path = tmp_path / "report.json"
    path.write_bytes(to_json(replace(story, version=99)))
    with pytest.raises(ConfigError, match="later vecferry"):
        read_json(path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 1}', '{"version": "x"}'])
def test_what_is_no_report_is_called_that(tmp_path, content):
    path = tmp_path / "report.json"
    path.write_text(content)
    with pytest.raises(CorruptData, match="no report"):
        read_json(path)


def test_a_missing_report_names_its_path(tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        read_json(tmp_path / "nowhere.json")


def test_a_place_that_cannot_be_written_to_leaves_nothing_behind(story, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreFull, match="file"):
        write_json(story, tmp_path / "file" / "report.json")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# --------------------------------------------------------------------------- the page as text


def test_nothing_green_stands_for_what_was_not_checked(tmp_path):
    """Every level not checked: no cell, no word and no banner may look like success."""
    empty = [Check(level=level, state=State.NOT_CHECKED, note="Not asked for.") for level in Level]
    page = write_html(_report(*empty), tmp_path / "report.html").read_text()
    body = page[page.index("<body>") :].replace('<span><svg class="icon ok"', "", 1)  # the legend
    assert 'class="icon ok"' not in body
    assert 'class="verdict good"' not in body
    assert "Not fully checked" in body


def test_the_page_fetches_nothing(story, tmp_path):
    page = write_html(story, tmp_path / "report.html").read_text()
    for word in ("<script", "<link", "<img", "<iframe", "url(", "@import", " src=", " href=", " style=", "javascript:"):
        assert word not in page, word
    assert "default-src 'none'; style-src 'sha256-" in page.replace("&#39;", "'")


def test_the_page_names_what_a_manager_asks_for(story, tmp_path):
    page = write_html(story, tmp_path / "report.html").read_text()
    for said in (
        "Differences found",
        "2 differences in 1 of 14 collections: 2 records changed.",
        "doc-00001",
        "Range over text is not exact on this store.",
        "The vector holds NaN.",
        "as the source stood at 2026-11-21 08:59:58 UTC",
        "Queries per second",
        "The connection was reset.",
        "vecferry[chroma-local]",
    ):
        assert said in page.replace("&#34;", '"'), said


def test_a_huge_number_of_findings_keeps_the_page_readable(tmp_path):
    page = write_html(_report(*checks(1000, content=900)), tmp_path / "report.html").read_text()
    assert page.count("document: 812 characters became 640") == 200
    assert "The first 200 are listed here, 900 in the JSON report." in page


@pytest.mark.parametrize(
    "text,wanted",
    [
        ("a\u202eb", "a⟨U+202E⟩b"),
        ("a\x00\x1b[31m", "a⟨U+0000⟩⟨U+001B⟩[31m"),
        ("\ud800", "⟨U+D800⟩"),
        ("日本 ü", "日本 ü"),
        ("x" * 1000, f"{'x' * 160} … {'x' * 60}"),
    ],
)
def test_text_that_misleads_the_eye_is_made_visible(text, wanted):
    assert shown(text) == wanted


def test_a_share_is_never_rounded_up_to_all():
    assert percent(0.99996) == "99.996\u202f%"
    assert percent(1.0) == "100\u202f%"
    assert percent(0.5) == "50\u202f%"


# --------------------------------------------------------------------------- the recorder


def test_the_recorder_s_memory_does_not_grow_with_the_run():
    """A run of a day, told every second, is a curve of a few hundred points with every record in it."""
    recorder = Recorder()
    recorder(StageStarted(at=0.0, stage=Stage.COPY, collection="a"))
    for second in range(86_400):
        recorder(Progress(at=float(second), stage=Stage.COPY, collection="a", records=7))
    recorder(StageFinished(at=86_400.0, stage=Stage.COPY, collection="a", records=7 * 86_400, seconds=86_400.0))
    facts = recorder.facts()
    assert len(facts.rates) <= 240
    assert sum(rate.records for rate in facts.rates) == 7 * 86_400
    assert facts.seconds == {"copy": 86_400.0}
    assert [(moment.begin, moment.end) for moment in facts.moments] == [(0.0, 86_400.0)]


def test_the_recorder_hands_events_on():
    seen = []
    recorder = Recorder(seen.append)
    event = Progress(stage=Stage.COPY, collection="a", records=1)
    recorder(event)
    assert seen == [event]


def test_a_run_that_was_undamaged_reads_as_such(tmp_path):
    report = make_story(damaged=False)
    assert report.verdict.kind is VerdictKind.PROVEN
    assert "<strong>Nothing was lost</strong>" in write_html(report, tmp_path / "report.html").read_text()
