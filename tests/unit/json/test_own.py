"""Our own JSON form: proven by its digest, replaced whole, and never without what was confirmed."""

import gzip
import hashlib
import json
import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from vecferry.arrow import from_records, to_records
from vecferry.errors import AlreadyExists, Conflict, CorruptData, Unsupported
from vecferry.model import Card, CollectionSpec, IdKind, Record, VectorSpec
from vecferry.registry import open_database
from vecferry.testing.contracts.compare import assert_same
from vecferry.testing.strategies import collections

SPEC = CollectionSpec(name="docs", vectors=(VectorSpec(dim=2),))
FORMS = ["json:{}/b.json", "jsonl:{}/b.jsonl", "json:{}/b.json.gz", "jsonl:{}/b.jsonl.zst"]


def records(start: int, end: int, *, version: int = 0) -> list[Record]:
    return [
        Record(
            id=f"id-{n}",
            id_kind=IdKind.TEXT,
            seq=n,
            vectors={"": np.array([n, version], np.float32)},
            metadata={"v": version},
        )
        for n in range(start, end)
    ]


def write(url: str, *batches: list[Record], spec: CollectionSpec = SPEC, finish: bool = True, gone: Any = ()) -> None:
    with closing(open_database(url)) as database:
        sink: Any = database.sink(spec)
        sink.prepare(spec)
        for batch in batches:
            sink.write(from_records(spec, batch))
        if gone:
            sink.delete(gone)
        if finish:
            sink.finish()
        sink.close()


def read(url: str, name: str = "docs") -> list[Record]:
    database = open_database(url)
    source = database.source(name)
    spec = source.describe()
    found = [r for part in source.partitions() for chunk in source.read(part) for r in to_records(chunk.batch, spec)]
    database.close()
    return found


@pytest.fixture(params=FORMS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(request.param).format(tmp_path)


def path(url: str) -> Path:
    return Path(url.partition(":")[2])


def test_finish_keeps_of_each_record_the_last(url: str) -> None:
    write(url, records(0, 300), records(100, 200, version=1))
    write(url, records(150, 350, version=2), gone=["id-0", "id-349", "nobody"])
    expected = [*records(1, 100), *records(100, 150, version=1), *records(150, 349, version=2)]
    assert_same(expected, read(url))
    assert not path(url).with_name(f"{path(url).name}.journal").exists()


def test_a_removed_record_can_come_again(url: str) -> None:
    write(url, records(0, 3), gone=["id-1"], finish=False)
    write(url, records(1, 2, version=5), finish=False)
    expected = [*records(0, 1), *records(1, 2, version=5), *records(2, 3)]
    assert_same(expected, read(url))
    write(url)
    assert_same(expected, read(url))


def test_an_unfinished_file_is_read_with_its_journal(url: str) -> None:
    write(url, records(0, 100))
    before = path(url).read_bytes()
    write(url, records(50, 150, version=1), finish=False)
    assert path(url).read_bytes() == before
    assert_same([*records(0, 50), *records(50, 150, version=1)], read(url))


def test_a_torn_entry_of_the_journal_counts_for_nothing(url: str) -> None:
    write(url, records(0, 10), finish=False)
    journal = path(url).with_name(f"{path(url).name}.journal")
    whole = journal.read_bytes()
    write(url, records(10, 20), finish=False)
    both = journal.read_bytes()
    for end in range(len(whole), len(both), 7):
        journal.write_bytes(both[:end])
        assert_same(records(0, 10), read(url))
    journal.write_bytes(both[: len(both) - 3])
    write(url, records(20, 30))
    assert_same([*records(0, 10), *records(20, 30)], read(url))


def test_pages_of_zeros_at_the_end_of_the_journal_are_a_torn_entry(url: str) -> None:
    """As a file system leaves them that lost its power while the entry was written: the line itself, or all of it."""
    write(url, records(0, 10), finish=False)
    journal = path(url).with_name(f"{path(url).name}.journal")
    whole = journal.read_bytes()
    write(url, records(10, 20), finish=False)
    both = journal.read_bytes()
    line = both.index(b"\n", len(whole)) + 1
    for end in (len(whole) + 3, line - 1, line, line + 5, len(both)):
        journal.write_bytes(whole + bytes(end - len(whole)) + both[end:])
        assert_same(records(0, 10), read(url))
    journal.write_bytes(whole + bytes(20) + both[len(whole) + 20 :])
    write(url, records(20, 30))
    assert_same([*records(0, 10), *records(20, 30)], read(url))


@pytest.mark.parametrize("damage", [b"\0" * 20, b'{"op":"wrote"}}}{{{{'])
def test_damage_before_the_last_entry_of_the_journal_is_refused(url: str, damage: bytes) -> None:
    """That entry had been confirmed: nobody may leave it out without a word, nor write behind it."""
    write(url, records(0, 10), finish=False)
    journal = path(url).with_name(f"{path(url).name}.journal")
    place = len(journal.read_bytes())
    write(url, records(10, 20), finish=False)
    write(url, records(20, 30), finish=False)
    data = journal.read_bytes()
    journal.write_bytes(data[:place] + damage + data[place + len(damage) :])
    before = journal.read_bytes()
    for use in (lambda: read(url), lambda: write(url, records(30, 40), finish=False)):
        with pytest.raises(CorruptData, match=rf"journal is damaged at byte {place:,}") as caught:
            use()
        assert caught.value.hint
    assert journal.read_bytes() == before


def test_a_journal_that_was_folded_already_changes_nothing(url: str) -> None:
    """As a process leaves it that is killed behind the rename, before the journal is removed."""
    write(url, records(0, 20), records(10, 30, version=1), gone=["id-3"], finish=False)
    journal = path(url).with_name(f"{path(url).name}.journal")
    left = journal.read_bytes()
    write(url)
    expected = read(url)
    journal.write_bytes(left)
    assert_same(expected, read(url))
    write(url)
    assert_same(expected, read(url))
    assert not journal.exists()


def test_a_sink_goes_on_in_a_journal_that_another_one_began(url: str) -> None:
    """One finishes, which takes the journal away, and writes more than there was, while the other still writes."""
    other = CollectionSpec(name="other", vectors=(VectorSpec(dim=2),))
    with closing(open_database(url)) as database:
        first, second = database.sink(SPEC), database.sink(other)
        first.prepare(SPEC)
        second.prepare(other)
        first.write(from_records(SPEC, records(0, 5)))
        second.finish()
        second.write(from_records(other, records(0, 200)))
        first.write(from_records(SPEC, records(5, 10)))
        second.write(from_records(other, records(200, 210)))
        first.finish()
        second.close()
        first.close()
    assert_same(records(0, 10), read(url))
    assert_same(records(0, 210), read(url, "other"))


def test_several_collections_in_one_file(url: str) -> None:
    other = CollectionSpec(name="other", namespace=("t", "d"), vectors=(VectorSpec(dim=2),))
    write(url, records(0, 10))
    write(url, records(0, 5, version=3), spec=other)
    write(url, records(10, 20))
    assert_same(records(0, 20), read(url))
    assert_same(records(0, 5, version=3), read(url, "t/d/other"))
    database: Any = open_database(url)
    database.drop("docs")
    database.drop("docs")
    assert [spec.qualified_name for spec in database.collections()] == ["t/d/other"]
    database.close()
    assert_same(records(0, 5, version=3), read(url, "other"))


def test_written_again_the_file_has_the_same_bytes(url: str) -> None:
    write(url, records(0, 100))
    before = path(url).read_bytes()
    write(url, records(0, 100))
    assert path(url).read_bytes() == before


def test_any_json_program_reads_it(tmp_path: Path) -> None:
    write(f"json:{tmp_path}/b.json", records(0, 3))
    write(f"jsonl:{tmp_path}/b.jsonl", records(0, 3))
    whole = json.loads((tmp_path / "b.json").read_text())
    lines = (tmp_path / "b.jsonl").read_text().splitlines(keepends=True)
    by_line = [json.loads(line) for line in lines]
    (one,) = whole["collections"]
    assert one["records"] == by_line[2:5]
    assert one["records"][2] == {"id": "id-2", "seq": 2, "vector": [2.0, 0.0], "metadata": {"v": 0}}
    assert by_line[5] == {"count": 3, "sha256": hashlib.sha256("".join(lines[1:5]).encode()).hexdigest()}
    described = json.dumps({"spec": one["spec"]}, separators=(",", ":")) + "\n"
    assert one["sha256"] == hashlib.sha256("".join([described, *lines[2:5]]).encode()).hexdigest()
    assert one["count"] == 3


@pytest.mark.parametrize("scheme", ["json", "jsonl"])
def test_cut_anywhere_it_is_refused(tmp_path: Path, scheme: str) -> None:
    url = f"{scheme}:{tmp_path}/b"
    write(url, records(0, 5))
    data = path(url).read_bytes()
    for end in range(len(data)):
        path(url).write_bytes(data[:end])
        with pytest.raises(CorruptData):
            open_database(url)


@pytest.mark.parametrize("scheme", ["json", "jsonl"])
def test_any_changed_byte_of_a_collection_is_noticed(tmp_path: Path, scheme: str) -> None:
    """Of its records, and of its description: metric, dimension, card."""
    url = f"{scheme}:{tmp_path}/b"
    write(url, records(0, 5), spec=replace(SPEC, card=Card(id_kind=IdKind.TEXT, run="r"), config={"a": 1}))
    data = path(url).read_bytes()
    for place in range(data.index(b'{"spec"'), data.rindex(b'"count"')):
        changed = bytearray(data)
        changed[place] ^= 1
        path(url).write_bytes(changed)
        with pytest.raises(CorruptData) as caught:
            open_database(url)
        assert caught.value.hint


@pytest.mark.parametrize("scheme", ["json", "jsonl"])
def test_another_metric_in_the_header_is_noticed(tmp_path: Path, scheme: str) -> None:
    url = f"{scheme}:{tmp_path}/b"
    write(url, records(0, 5))
    changed = path(url).read_text().replace(f'"metric":"{SPEC.vectors[0].metric}"', '"metric":"ip"', 1)
    assert changed != path(url).read_text()
    path(url).write_text(changed)
    with pytest.raises(CorruptData, match="the description or the 5 records of docs"):
        open_database(url)
    path(url).write_text(changed.replace('"version":2', '"version":1', 1))
    with pytest.raises(CorruptData):
        open_database(url)


@pytest.mark.parametrize("scheme", ["json", "jsonl"])
def test_a_file_of_version_1_is_read_and_becomes_one_of_version_2(tmp_path: Path, scheme: str) -> None:
    """Its digest is that of the records alone."""
    url = f"{scheme}:{tmp_path}/b"
    write(url, records(0, 5))
    text = path(url).read_text()
    lines = [line.removesuffix(",") for line in text.splitlines() if line.startswith('{"id"')]
    old = hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    text = re.sub(r'"sha256":"\w+"', f'"sha256":"{old}"', text).replace('"version":2', '"version":1', 1)
    path(url).write_text(text)
    assert_same(records(0, 5), read(url))
    write(url, records(5, 6))
    assert '"version":2' in path(url).read_text()
    assert_same(records(0, 6), read(url))


def test_a_missing_record_is_noticed(tmp_path: Path) -> None:
    url = f"jsonl:{tmp_path}/b"
    write(url, records(0, 5))
    text = path(url).read_text().splitlines(keepends=True)
    path(url).write_text("".join(text[:3] + text[4:]))
    with pytest.raises(CorruptData, match="the description or the 4 records of docs are not those"):
        open_database(url)


def test_written_anew_by_another_program_it_is_refused(tmp_path: Path) -> None:
    url = f"json:{tmp_path}/b"
    write(url, records(0, 5))
    path(url).write_text(json.dumps(json.loads(path(url).read_text())))
    with pytest.raises(CorruptData, match="another program has written anew"):
        open_database(url)


def test_a_later_version_is_refused(tmp_path: Path) -> None:
    url = f"jsonl:{tmp_path}/b"
    write(url, records(0, 5))
    path(url).write_text(path(url).read_text().replace('"version":2', '"version":3', 1))
    with pytest.raises(Unsupported, match="version 3"):
        open_database(url)


def test_a_file_of_others_is_never_written_into(tmp_path: Path) -> None:
    for data in (b'[{"id": "a", "vector": [1, 2]}]', gzip.compress(b'{"ids": ["a"], "documents": ["x"]}')):
        (tmp_path / "b").write_bytes(data)
        database: Any = open_database(f"json:{tmp_path}/b")
        with pytest.raises(AlreadyExists, match="did not write it"):
            database.sink(SPEC).prepare(SPEC)
        with pytest.raises(AlreadyExists):
            database.drop("b")
        database.close()
        assert (tmp_path / "b").read_bytes() == data
        assert [one.name for one in tmp_path.iterdir()] == ["b"]


def test_a_refused_collection_changes_nothing(url: str) -> None:
    write(url, records(0, 5))
    before = path(url).read_bytes()
    with pytest.raises(Conflict):
        write(url, spec=CollectionSpec(name="docs", vectors=(VectorSpec(dim=3),)))
    write(url)
    assert path(url).read_bytes() == before


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(held=collections())
def test_whatever_there_is_comes_back(tmp_path: Path, held: tuple[CollectionSpec, list[Record]]) -> None:
    spec, wanted = held
    for scheme in ("json", "jsonl"):
        url = f"{scheme}:{tmp_path}/b"
        path(url).unlink(missing_ok=True)
        write(url, wanted, spec=spec)
        database = open_database(url)
        (found,) = database.collections()
        assert (found.name, found.vectors, found.metadata, found.card) == (
            spec.name,
            spec.vectors,
            spec.metadata,
            spec.card,
        )
        database.close()
        assert_same(wanted, read(url, spec.qualified_name), kinds=spec.id_kind is IdKind.MIXED)
