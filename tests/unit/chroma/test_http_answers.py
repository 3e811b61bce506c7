"""Answers of a server as columns: exact numbers by simdjson and by Arrow, faults told apart, hostile texts."""

from typing import Any

import numpy as np
import orjson
import pytest

from vecferry.connectors.chroma.http import answers


@pytest.fixture(params=["simdjson", "arrow"])
def _parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "arrow":
        monkeypatch.setattr(answers, "simdjson", None)
    else:
        pytest.importorskip("simdjson")


def answer(vectors: Any, **columns: Any) -> bytes:
    rows = len(vectors)
    whole = {
        "ids": [f"id-{row}" for row in range(rows)],
        "embeddings": vectors,
        "documents": [None] * rows,
        "uris": [None] * rows,
        "metadatas": [{}] * rows,
        "include": [],
    }
    return orjson.dumps({**whole, **columns}, option=orjson.OPT_SERIALIZE_NUMPY)


@pytest.mark.usefixtures("_parser")
def test_every_bit_of_a_vector_comes_through() -> None:
    """Random bit patterns of float32: all sizes of exponent, denormals, both zeros."""
    bits = np.random.default_rng(1).integers(0, 1 << 32, 40_000, np.uint64).astype(np.uint32).view(np.float32)
    bits = bits[np.isfinite(bits)][:39_000].reshape(-1, 13).copy()
    bits[0, :4] = 0.0, -0.0, 1e-45, np.finfo(np.float32).max
    found = answers.page(answer(bits), 13)
    assert found.vectors.tobytes() == bits.tobytes()
    assert found.faults == {}


@pytest.mark.usefixtures("_parser")
def test_integers_among_the_numbers() -> None:
    """Servers before 1.0 write 1.0 as 1.0; whoever writes 1 means the same."""
    assert answers.page(answer([[1, 2.5], [-3, 0]]), 2).vectors.tolist() == [[1.0, 2.5], [-3.0, 0.0]]


@pytest.mark.usefixtures("_parser")
def test_faulty_records_are_named_and_the_others_read() -> None:
    """No vector, one of another length, one that is not finite, metadata that JSON cannot say."""
    vectors = [[1.0, 2.0], None, [1.0], [None, 1.0], [1e39, 0.0], [3.0, 4.0], [5.0, 6.0]]
    metadatas = [{}, {}, {}, {}, {}, {"a": None, "b": 1}, {"a": 1}]
    found = answers.page(answer(vectors, metadatas=metadatas), 2)
    assert sorted(found.faults) == [1, 2, 3, 4, 5]
    assert "'a'" in found.faults[5]
    assert found.vectors[[0, 6]].tolist() == [[1.0, 2.0], [5.0, 6.0]]
    assert found.metadatas[6] == {"a": 1}


@pytest.mark.usefixtures("_parser")
@pytest.mark.parametrize("text", ['"embeddings":[[9.0,9.0]]', "]]", '[[1]],"embeddings":[[7.0]]', "\\", '\\"'])
def test_texts_that_look_like_vectors_are_texts(text: str) -> None:
    """Wherever they stand: in ids, documents, keys and values."""
    columns = {"ids": [text], "documents": [text], "uris": [text], "metadatas": [{text: text, "embeddings": [1, 2]}]}
    found = answers.page(answer([[1.0, 2.0]], **columns), 2)
    assert (found.ids, found.documents, found.uris) == ([text], [text], [text])
    assert found.metadatas == [{text: text, "embeddings": [1, 2]}]
    assert found.vectors.tolist() == [[1.0, 2.0]]
    first = {"documents": [text], **orjson.loads(answer([[1.0, 2.0]]))}  # another order of the columns
    assert answers.page(orjson.dumps(first), 2).vectors.tolist() == [[1.0, 2.0]]


def test_types_of_metadata_are_kept_apart() -> None:
    """1 is not 1.0 is not true."""
    metadata = {"i": 1, "f": 1.0, "b": True, "big": 2**63 - 1, "tiny": 5e-324, "l": [1, 2], "g": [1.0]}
    found = answers.page(answer([[0.5]], metadatas=[metadata]), 1)
    assert repr(found.metadatas) == repr([metadata])


@pytest.mark.parametrize(
    "broken", [b"", b"<html></html>", b"[]", b'{"ids":["a"],"documents":["b","c"]}', b'{"ids":["a"']
)
def test_what_is_no_answer_is_refused(broken: bytes) -> None:
    """Never half a page."""
    with pytest.raises((ValueError, KeyError, TypeError)):
        answers.page(broken, 2)
