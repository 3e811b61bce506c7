"""Repair makes the target equal to the source again, touches nothing else, and may be interrupted anywhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.verify.conftest import SPEC
from vecferry.errors import DataError, NotFound, Unavailable
from vecferry.events import Retried
from vecferry.model import Element, IdKind, Metric, VectorSpec
from vecferry.verification import Level, VerifyOptions, repair
from vecferry.verification.model import State

PAIRS = [("docs", "docs")]


@pytest.fixture
def damaged(stage):
    """Three missing, two changed, one extra."""
    stage.delete(stage.target, *(record.id for record in stage.records[10:13]))
    stage.change(20, document="damaged")
    stage.change(21, metadata=None)
    stage.write(stage.target, [replace(stage.records[0], id="intruder")])
    return stage


def _poorer(source):
    """A source that can only be read as a whole."""
    names = ("describe", "partitions", "read", "close", "count", "search", "count_where")
    return type("Poorer", (), {name: getattr(source, name) for name in names})


@pytest.mark.parametrize("fetchable", [True, False])
@pytest.mark.parametrize("spill_bytes", [0, 1 << 20])
def test_missing_and_changed_records_are_written_again(damaged, monkeypatch, fetchable, spill_bytes):
    if not fetchable:
        poorer = _poorer(damaged.source.source("docs"))
        monkeypatch.setattr(damaged.source, "source", lambda _name: poorer)
    done = repair(damaged.source, damaged.target, PAIRS, options=VerifyOptions(spill_bytes=spill_bytes))
    assert (done.collections[0].rewritten, done.collections[0].deleted, done.collections[0].extra_left) == (5, 0, 1)
    assert done.after.differences == 1, "the extra record is left and still reported"


def test_extra_records_go_only_when_asked(damaged):
    done = repair(damaged.source, damaged.target, PAIRS, delete_extra=True)
    assert done.collections[0].deleted == 1
    assert done.after.ok
    assert done.repaired == 6


def test_more_differences_than_are_listed_are_all_repaired(stage):
    """A verification lists a thousand by id; a repair may not stop there."""
    stage.write(stage.target, [replace(record, document="other") for record in stage.records])
    done = repair(stage.source, stage.target, PAIRS, options=VerifyOptions(max_findings=3))
    assert done.collections[0].rewritten == 300
    assert done.after.ok


def test_equal_stores_are_not_written_to(stage, monkeypatch):
    sinks = []
    make = stage.target.sink
    monkeypatch.setattr(stage.target, "sink", lambda spec: sinks.append(make(spec)) or sinks[-1])
    for_writing = []
    for name in ("prepare", "write", "delete", "finish"):
        monkeypatch.setattr(f"vecferry.connectors.memory.sink.MemorySink.{name}", lambda *_: for_writing.append(1))
    done = repair(stage.source, stage.target, PAIRS, delete_extra=True)
    assert done.repaired == 0
    assert sinks, "a sink was asked what it would give back"
    assert not for_writing


def test_a_repair_that_dies_in_the_middle_is_finished_by_the_next(stage, monkeypatch):
    stage.write(stage.target, [replace(record, document="other") for record in stage.records])
    name = "vecferry.connectors.memory.sink.MemorySink.write"
    from vecferry.connectors.memory.sink import MemorySink

    write, calls = MemorySink.write, []

    def dies(self, batch):
        calls.append(batch)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return write(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(name, dies)
        with pytest.raises(KeyboardInterrupt):
            repair(stage.source, stage.target, PAIRS)
    done = repair(stage.source, stage.target, PAIRS)
    assert 0 < done.collections[0].rewritten < 300, "the first attempt's writes stayed"
    assert done.after.ok


def test_a_write_that_breaks_off_is_tried_again(damaged, monkeypatch):
    from vecferry.connectors.memory.sink import MemorySink

    write, broken, seen = MemorySink.write, [Unavailable("The line broke.")], []

    def breaks_once(self, batch):
        if broken:
            raise broken.pop()
        return write(self, batch)

    monkeypatch.setattr("vecferry.connectors.memory.sink.MemorySink.write", breaks_once)
    done = repair(damaged.source, damaged.target, PAIRS, delete_extra=True, observer=seen.append)
    assert done.after.ok
    assert [event.error for event in seen if isinstance(event, Retried)] == ["The line broke."]


def test_a_read_that_breaks_off_goes_on_behind_the_last_chunk(stage, monkeypatch):
    """The same record may not be counted twice, nor one be left out."""
    from vecferry.connectors.memory.source import MemorySource

    read, broken = MemorySource.read, [Unavailable("The line broke.")]

    def breaks_once(self, partition, *, after=None):
        for number, chunk in enumerate(read(self, partition, after=after)):
            if number == 1 and broken:
                raise broken.pop()
            yield chunk

    monkeypatch.setattr(MemorySource, "read", breaks_once)
    found = stage.verify()
    assert not broken
    assert found.ok
    assert found.collections[0].records == 300


def test_a_collection_that_is_not_there_must_be_moved_first(stage):
    stage.target.drop("docs")
    with pytest.raises(NotFound, match="vecferry migrate"):
        repair(stage.source, stage.target, PAIRS)


@pytest.mark.parametrize(
    "there",
    [
        VectorSpec(name="other", dim=16, metric=Metric.COSINE),
        VectorSpec(dim=16, metric=Metric.COSINE, element=Element.FLOAT16),
    ],
    ids=["another-name", "other-numbers"],
)
def test_records_are_written_in_the_form_that_they_have_in_the_target(stage, there):
    """The vector was renamed, or narrowed, when it was copied: what is missing is written like the rest."""
    spec = replace(SPEC, name="here", vectors=(there,))
    sink = stage.target.sink(spec)
    sink.prepare(spec)
    sink.close()
    done = repair(stage.source, stage.target, [("docs", "here")])
    assert done.collections[0].rewritten == 300
    content = done.after.collections[0].check(Level.CONTENT)
    assert content is not None
    assert (content.state, content.compared, content.differences) == (State.OK, 300, 0)


def test_a_record_that_the_target_refuses_keeps_no_other_back(stage, monkeypatch):
    """Listed with the reason; every other one of its batch is written."""
    from vecferry.connectors.memory.sink import MemorySink

    bad = {stage.records[11].id, stage.records[40].id}
    stage.delete(stage.target, *(record.id for record in stage.records[10:50]))
    write = MemorySink.write

    def refuses(self, batch):
        if found := bad & set(batch.column("id").to_pylist()):
            raise DataError("An id is too long.", ids=sorted(found), hint="Mend it.")
        return write(self, batch)

    monkeypatch.setattr(MemorySink, "write", refuses)
    done = repair(stage.source, stage.target, PAIRS)
    assert done.collections[0].rewritten == 38
    assert done.collections[0].refused == dict.fromkeys(bad, "An id is too long.")
    ids = done.after.collections[0].check(Level.IDS)
    assert {finding.id for finding in ids.findings} == bad


def test_what_is_written_again_may_stand_at_the_end(stage, monkeypatch):
    """A store whose order is that of writing: told, and no difference, since a repair moves nothing."""
    moved = replace(stage.records[5], seq=10_000)
    stage.write(stage.target, [moved])
    stage.delete(stage.target, stage.records[20].id)
    done = repair(stage.source, stage.target, PAIRS)
    order = done.after.collections[0].check(Level.ORDER)
    assert (order.state, order.differences, order.figures) == (State.NOT_CHECKED, 0, {"reordered": 294.0})
    assert done.after.differences == 0


def test_what_the_plan_set_aside_is_not_written(stage):
    aside = {record.id: "too long" for record in stage.records[5:8]}
    stage.delete(stage.target, *aside, stage.records[20].id)
    done = repair(stage.source, stage.target, PAIRS, options=VerifyOptions(set_aside={"docs": aside}))
    assert done.collections[0].rewritten == 1
    assert done.after.differences == 0


@pytest.mark.parametrize("fetchable", [True, False])
def test_a_record_whose_id_differs_in_its_kind_alone_stays(stage, monkeypatch, fetchable):
    """A store is told the text of the ids that go: the number 1 is extra, the text "1" is not."""
    spec = replace(SPEC, name="mixed", id_kind=IdKind.MIXED)
    text, other = (replace(one, id=ident, id_kind=IdKind.TEXT) for one, ident in zip(stage.records, "1z", strict=False))
    stage.write(stage.source, [text, other], spec)
    stage.write(stage.target, [text, other, replace(stage.records[2], id="1", id_kind=IdKind.INT)], spec)
    if not fetchable:
        poorer = _poorer(stage.source.source("mixed"))
        monkeypatch.setattr(stage.source, "source", lambda _name: poorer)
    done = repair(stage.source, stage.target, [("mixed", "mixed")], delete_extra=True)
    assert done.collections[0].deleted == 1
    assert done.after.differences == 0
