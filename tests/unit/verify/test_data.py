"""Each way in which a copy can be wrong is found by the check that should find it, and named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vecferry.engine.stop import Stop
from vecferry.errors import Interrupted, NotFound
from vecferry.events import Event as Happened
from vecferry.events import Progress, Stage, StageFinished, StageStarted
from vecferry.model import CollectionSpec, FieldIndex, IndexKind, Metric, Rejection, VectorSpec
from vecferry.verification import Difference, Level, State, VerifyOptions, verify


def test_equal_stores_are_identical_and_every_record_was_compared(stage):
    """The green case says what it looked at."""
    found = stage.verify()
    one = found.collections[0]
    assert found.identical
    assert found.ok, [(check.level, check.state, check.note) for check in one.checks]
    assert (one.records, found.differences) == (300, 0)
    content = one.check(Level.CONTENT)
    assert (content.scanned, content.compared, content.skipped) == (300, 300, {})
    assert set(found.seconds) == {"verify", "parity"}


def test_a_missing_record_is_named(stage):
    stage.delete(stage.target, stage.records[5].id)
    found = stage.verify()
    ids, counts = found.collections[0].check(Level.IDS), found.collections[0].check(Level.COUNTS)
    assert [(f.difference, f.id) for f in ids.findings] == [(Difference.MISSING, stage.records[5].id)]
    assert (ids.state, counts.state) == (State.DIFFERENT, State.DIFFERENT)
    assert found.differences == 1, "a missing record is one difference, though it shows in two checks"
    assert not found.identical


def test_an_extra_record_is_named(stage):
    stage.write(stage.target, [replace(stage.records[0], id="intruder")])
    ids = stage.check(Level.IDS)
    assert [(f.difference, f.id) for f in ids.findings] == [(Difference.EXTRA, "intruder")]


def test_one_lost_and_one_extra_are_seen_though_the_counts_agree(stage):
    """What a count alone can never see."""
    stage.delete(stage.target, stage.records[5].id)
    stage.write(stage.target, [replace(stage.records[5], id="intruder")])
    one = stage.verify().collections[0]
    assert one.check(Level.COUNTS).state is State.OK
    assert {f.difference for f in one.check(Level.IDS).findings} == {Difference.MISSING, Difference.EXTRA}
    assert one.differences == 2


@pytest.mark.parametrize(
    "fields,said",
    [
        (
            {"document": "text of 2 text of 2 text of X "},
            "document: 30 characters became 30, first difference at character 29",
        ),
        ({"document": None}, "document: absent in the target"),
        ({"document": ""}, "document: 30 characters became 0"),
        ({"uri": "https://example.org/other"}, "uri:"),
        ({"metadata": None}, "metadata: absent in the target"),
        ({"metadata": {}}, "missing in the target: lang, new, page, score, tags"),
        (
            {"metadata": {"page": 2.0, "lang": "日本", "score": 0.25, "new": True, "tags": ["a", "b"]}},
            "page: int became float",
        ),
        (
            {"metadata": {"page": 2, "lang": "日本", "score": 0.25, "new": 1, "tags": ["a", "b"]}},
            "new: bool became int",
        ),
        (
            {"metadata": {"page": 2, "lang": "日本", "score": 0.25, "new": True, "tags": ["b", "a"]}},
            "another value: tags",
        ),
        ({"vectors": {"": None}}, "vector: absent in the target"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_changed_field_is_named_with_how_it_changed(stage, fields, said):
    changed = stage.change(2, **fields)
    content = stage.check(Level.CONTENT)
    assert [(f.difference, f.id) for f in content.findings] == [(Difference.CHANGED, changed)]
    assert said in content.findings[0].what


def test_one_flipped_bit_in_one_vector_is_found(stage):
    """The smallest change there is."""
    vector = stage.records[17].vectors[""].copy()
    vector.view(np.uint32)[3] ^= 1
    stage.change(17, vectors={"": vector})
    content = stage.check(Level.CONTENT)
    assert content.differences == 1
    assert "1 of 16 components differ" in content.findings[0].what
    assert "(1 ulp)" in content.findings[0].what


def test_order_that_is_not_the_source_s_is_found(stage):
    """Two records that swapped places; one of them now stands before one that it should follow."""
    stage.change(3, seq=stage.records[8].seq)
    stage.change(8, seq=stage.records[3].seq)
    order = stage.check(Level.ORDER)
    assert order.state is State.DIFFERENT
    assert {f.id for f in order.findings} <= {record.id for record in stage.records[3:9]}


def test_order_may_have_other_numbers_as_long_as_it_is_the_same_order(stage):
    stage.write(stage.target, [replace(record, seq=record.seq * 3 - 500) for record in stage.records])
    assert stage.check(Level.ORDER).state is State.OK


@pytest.mark.parametrize("spill_bytes", [4 << 20, 0])
@pytest.mark.parametrize("tied", ["source", "target", "both"])
def test_records_that_share_a_place_may_stand_in_any_order(stage, tied, spill_bytes):
    """As those of merged collections do, each of which begins at 0; but a whole place before its due is found."""
    doubled = [replace(record, seq=n // 2) for n, record in enumerate(stage.records)]
    swapped = [replace(record, seq=n ^ 1) for n, record in enumerate(stage.records)]
    stage.write(stage.source, doubled if tied != "target" else swapped)
    stage.write(stage.target, doubled if tied != "source" else swapped)
    assert stage.check(Level.ORDER, spill_bytes=spill_bytes).state is State.OK
    stage.change(200, seq=-1)
    order = stage.check(Level.ORDER, spill_bytes=spill_bytes)
    assert (order.state, [f.id for f in order.findings]) == (State.DIFFERENT, [stage.records[200].id])


def test_another_order_in_what_was_synchronised_is_told_and_is_no_difference(stage):
    """Never as ok: a plain verification still shows it."""
    stage.change(200, seq=-1)
    found = stage.verify(reordered=frozenset({"docs"}))
    order = found.collections[0].check(Level.ORDER)
    assert (order.state, order.differences, order.findings) == (State.NOT_CHECKED, 0, ())
    assert order.note.startswith("1 record comes back in another order than the source's: what differed")
    assert (found.sound, found.identical, found.ok) == (True, True, False)
    assert not stage.verify(reordered=frozenset({"others"})).sound
    stage.change(200, document="other")
    changed = stage.verify(reordered=frozenset({"docs"}))
    assert (changed.sound, changed.differences) == (False, 1), "it hides nothing else"


def test_what_was_synchronised_and_stands_in_order_is_ok(stage):
    assert stage.verify(reordered=frozenset({"docs"})).ok


def test_a_record_without_a_place_is_a_difference_even_where_others_may_be_reordered(stage):
    stage.change(200, seq=-1)
    stage.change(7, seq=None)
    order = stage.check(Level.ORDER, reordered=frozenset({"docs"}))
    assert (order.state, order.differences) == (State.DIFFERENT, 2)


def test_a_source_without_order_makes_the_check_not_applicable(stage):
    for database in (stage.source, stage.target):
        stage.write(database, [replace(record, seq=None) for record in stage.records])
    assert stage.check(Level.ORDER).state is State.NOT_APPLICABLE
    assert stage.verify().ok


@pytest.mark.parametrize("spill_bytes", [0, 3000])
def test_files_on_disk_give_the_same_findings_as_memory(stage, tmp_path, spill_bytes):
    """Past its memory limit a verification spills; nothing may change but where the rows lie."""
    stage.delete(stage.target, stage.records[5].id)
    stage.change(2, document="other")
    stage.change(3, seq=10_000)
    stage.write(stage.target, [replace(stage.records[0], id="intruder")])
    wanted = stage.verify().collections[0]
    got = stage.verify(spill_bytes=spill_bytes, folder=tmp_path).collections[0]
    for level in (Level.COUNTS, Level.IDS, Level.CONTENT, Level.ORDER):
        a, b = wanted.check(level), got.check(level)
        assert (a.state, a.differences, set(a.findings)) == (b.state, b.differences, set(b.findings)), level
    assert not list(tmp_path.iterdir()), "the files are gone when it is done"


def test_findings_are_capped_but_all_are_counted(stage):
    stage.write(stage.target, [replace(record, document="other") for record in stage.records])
    content = stage.check(Level.CONTENT, max_findings=10)
    assert (content.differences, len(content.findings)) == (300, 10)


def test_a_collection_that_is_not_there_counts_every_record_as_missing(stage):
    stage.target.drop("docs")
    found = stage.verify()
    one = found.collections[0]
    assert one.check(Level.IDS).differences == 300
    assert one.check(Level.SCHEMA).findings[0].what == "The target has no such collection."
    assert one.check(Level.SEARCH).state is State.NOT_CHECKED
    assert not found.identical


def test_an_unknown_source_collection_is_an_error_not_a_finding(stage):
    with pytest.raises(NotFound, match="nowhere"):
        verify(stage.source, stage.target, [("nowhere", "docs")])


def test_an_empty_collection_is_identical_and_says_what_does_not_apply(stage):
    spec = CollectionSpec(name="void", vectors=(VectorSpec(dim=4),))
    for database in (stage.source, stage.target):
        database.sink(spec).prepare(spec)
    found = verify(stage.source, stage.target, [("void", "void")])
    assert found.identical
    assert found.collections[0].check(Level.SEARCH).state is State.NOT_APPLICABLE


def test_another_metric_and_dimension_are_schema_differences(stage):
    stage.target.drop("docs")
    other = replace(stage.spec, vectors=(VectorSpec(dim=8, metric=Metric.L2),))
    stage.write(stage.target, [replace(r, vectors={"": r.vectors[""][:8]}) for r in stage.records], other)
    one = stage.verify().collections[0]
    assert {f.what for f in one.check(Level.SCHEMA).findings} == {"16 became 8", "cosine became l2"}
    assert one.check(Level.CONTENT).differences == 300
    assert "shape 16 became 8" in one.check(Level.CONTENT).findings[0].what
    assert one.check(Level.SEARCH).state is State.NOT_CHECKED


def test_records_that_the_plan_set_aside_are_skipped_with_their_reason(stage):
    stage.delete(stage.target, stage.records[4].id)
    aside = {"docs": {stage.records[4].id: "the vector holds NaN"}}
    found = stage.verify(set_aside=aside)
    assert found.identical
    assert found.collections[0].check(Level.IDS).skipped == {"set aside by the plan: the vector holds NaN": 1}


def test_levels_left_out_are_not_checked_and_never_ok(stage):
    found = stage.verify(levels=frozenset({Level.COUNTS}))
    states = {check.level: check.state for check in found.collections[0].checks}
    assert states.pop(Level.COUNTS) is State.OK
    assert set(states.values()) == {State.NOT_CHECKED}
    assert not found.ok
    assert not found.identical


def test_stop_ends_the_pass_as_interrupted(stage):
    stop = Stop()
    stop.request()
    with pytest.raises(Interrupted, match="stopped"):
        verify(stage.source, stage.target, [("docs", "docs")], stop=stop)


def test_events_tell_each_stage_and_every_record_once(stage):
    seen: list[Happened] = []
    verify(stage.source, stage.target, [("docs", "docs")], options=VerifyOptions(), observer=seen.append)
    started = [event.stage for event in seen if isinstance(event, StageStarted)]
    finished = [event.stage for event in seen if isinstance(event, StageFinished)]
    assert started == finished == [Stage.VERIFY, Stage.PARITY]
    assert sum(event.records for event in seen if isinstance(event, Progress)) == 300


def test_a_failing_side_stops_the_other_and_its_own_error_is_raised(stage, monkeypatch):
    """Not the `Interrupted` of the side that was made to stop."""
    source = stage.target.source("docs")

    def broken(*_args, **_options):
        raise OSError("the line broke")

    monkeypatch.setattr(source, "read", broken)
    monkeypatch.setattr(stage.target, "source", lambda _name: source)
    with pytest.raises(OSError, match="the line broke"):
        stage.verify()


def test_a_missing_payload_index_is_a_schema_difference(stage):
    """Promised by the plan, but the target does not have it."""
    index = FieldIndex(key="page", kind=IndexKind.INTEGER)
    check = stage.check(Level.SCHEMA, promised={"docs": replace(stage.spec, indexes=(index,))})
    assert [f.what for f in check.findings] == ["no integer index on metadata key page"]


def test_a_server_that_does_not_return_all_that_it_says_it_holds_is_found(stage, monkeypatch):
    """After a crash a server may count records that it does not yet give back."""
    source = stage.target.source("docs")
    monkeypatch.setattr(source, "count", lambda: 301)
    monkeypatch.setattr(stage.target, "source", lambda _name: source)
    found = stage.verify()
    assert found.collections[0].check(Level.COUNTS).findings[0].what == (
        "says that it holds 301 records, but 300 were read"
    )
    assert found.differences == 1


def test_unreadable_records_keep_a_check_from_being_ok(stage, monkeypatch):
    """What the source itself cannot read was not compared, so nothing is proven about it."""
    source = stage.source.source("docs")
    read = source.read

    def torn(partition, **options):
        for chunk in read(partition, **options):
            yield replace(chunk, rejected=(Rejection("x", "its vector is torn"),))

    monkeypatch.setattr(source, "read", torn)
    monkeypatch.setattr(stage.source, "source", lambda _name: source)
    found = stage.verify().collections[0]
    assert found.check(Level.CONTENT).state is State.NOT_CHECKED
    assert found.check(Level.CONTENT).skipped == {"the source cannot read it: its vector is torn": 9}
    assert not found.identical
