"""The demo's story, without its screen: real text into Chroma, into embedded Qdrant, all records and answers equal."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
import pytest

from vecferry.arrow import to_records
from vecferry.demo import QUESTIONS, Summary, write_chroma
from vecferry.model import Card
from vecferry.protocols import Database
from vecferry.registry import open_database
from vecferry.testing.contracts import assert_same


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "chroma"
    write_chroma(folder)
    return folder


def test_says_what_it_wrote(tmp_path: Path) -> None:
    """A few thousand records in four collections, cosine, with metadata of every type; Chroma itself counts them."""
    written: Summary = write_chroma(tmp_path / "chroma")
    assert re.fullmatch(r"2,\d{3} records in 4 collections, 512 dimensions, cosine\.", str(written))
    client = chromadb.PersistentClient(str(tmp_path / "chroma"))
    assert {c.name: c.count() for c in client.list_collections()} == dict(written.collections)
    found = client.get_collection("python-types").get(include=["documents", "metadatas"])
    kinds = {type(value) for metadata in found["metadatas"] or () for value in metadata.values()}
    assert kinds == {str, int, float, bool, list}
    assert all(text and text.strip() for text in found["documents"] or ())
    assert any(ord(character) > 127 for text in found["documents"] or () for character in text)
    client.close()


def test_the_questions_find_what_they_ask_for(source: Path) -> None:
    """The vectors are those of a real model: Chroma's nearest paragraphs are about the question."""
    client = chromadb.PersistentClient(str(source))
    answers = {}
    for question in QUESTIONS:
        assert question.vector.shape == (512,)
        assert question.vector.dtype == np.float32
        found = client.get_collection(question.collection).query(query_embeddings=[question.vector], n_results=3)
        answers[question.text] = " ".join((found["documents"] or [[]])[0])
    client.close()
    about = ("except", "debugg", "tuple", "split", "power", "__del__")
    for (question_text, answer), word in zip(answers.items(), about, strict=True):
        assert word in answer, question_text


def test_every_record_and_answer_arrives(source: Path, tmp_path: Path) -> None:
    """Copied by the connectors alone: records as the sink foretold them, and the same answers to each question."""
    with closing(open_database(f"chroma:{source}")) as origin, closing(open_database(f"qdrant:{tmp_path}")) as target:
        for described in origin.collections():
            _move(origin, target, described)
        for question in QUESTIONS:
            searching: Any = target.source(question.collection)
            (hits,) = searching.search(question.vector[None, :], k=3)
            assert [hit.id for hit in hits] == _nearest(origin, question.collection, question.vector)


def _move(origin: Database, target: Database, described: Any) -> None:
    reading = origin.source(described.qualified_name)
    card = Card(id_kind=described.id_kind, vectors=described.vectors)
    spec = replace(described, namespace=(), card=card)
    sink: Any = target.sink(spec)
    sink.prepare(spec)
    expected = []
    for partition in reading.partitions():
        for chunk in reading.read(partition):
            assert sink.write(chunk.batch).rejected == ()
            expected += to_records(sink.expect(chunk.batch), spec)
    sink.finish()
    back = target.source(described.name)
    chunks = [chunk for partition in back.partitions() for chunk in back.read(partition)]
    assert_same(expected, [record for chunk in chunks for record in to_records(chunk.batch, spec)])


def _nearest(origin: Database, name: str, query: Any) -> list[str]:
    """The three nearest by brute force over what the source reads."""
    source = origin.source(name)
    spec = source.describe()
    chunks = [chunk for partition in source.partitions() for chunk in source.read(partition)]
    records = [record for chunk in chunks for record in to_records(chunk.batch, spec)]
    values = np.stack([np.asarray(record.vectors[""], np.float64) for record in records])
    scores = values @ query / np.linalg.norm(values, axis=1)
    return [records[row].id for row in np.argsort(-scores)[:3]]
