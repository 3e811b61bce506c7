"""Answers to `get` as columns. Pure.

Vectors are nearly all of an answer, and Python objects for each of their numbers would cost most of the time. They are
cut out as text and go from text to float32 in simdjson, 5 us instead of 25 for a record of 384 dimensions
(docs/adr/0012); where it is not installed, in Arrow. The rest is parsed by orjson, which keeps integers, floats and
booleans apart. Servers write a float32 with the fewest digits that tell it from its neighbours; read as float64 and
rounded that is the same float32 again, which was tried for all of them (tests/unit/qdrant/test_rest_numbers.py).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

try:
    import simdjson
except ImportError:  # no wheel for this Python yet
    simdjson = None

_START = b'"embeddings":[['
"""Stands nowhere else: no metadata holds a list of lists, and in a text the quotation marks have a backslash."""
_OF_THREAD = threading.local()
_NO_VECTOR = "The server gives no vector for it."
_NOT_FINITE = "Its vector holds a number that is not finite, which the server cannot say."


@dataclass(frozen=True, slots=True)
class Page:
    """Records as they came.

    Attributes:
        vectors: shape (rows, dim); zeros where a record has a fault. Width 0 where none were asked for.
        metadatas: None where a record has none.
        faults: row -> why the record cannot be read.
    """

    ids: list[str]
    vectors: NDArray[np.float32]
    documents: list[str | None]
    uris: list[str | None]
    metadatas: list[dict[str, Any] | None]
    faults: dict[int, str]


def page(answer: bytes, dim: int) -> Page:
    """The records of an answer to `get`.

    Raises:
        ValueError: the answer is no JSON, or not of the form that Chroma gives.
    """
    vectors, rest = _cut(answer, dim)
    found = orjson.loads(rest)
    ids: list[str] = found["ids"]
    faults: dict[int, str] = {}
    if vectors is None or len(vectors) != len(ids):
        vectors = _one_by_one(orjson.loads(answer).get("embeddings"), len(ids), dim, faults)
    metadatas = [metadata or None for metadata in found.get("metadatas") or [None] * len(ids)]
    for row, metadata in enumerate(metadatas):
        if metadata is not None and None in metadata.values():
            key = next(key for key, value in metadata.items() if value is None)
            faults[row] = f"The server cannot say the value of '{key}', which is no finite number."
    documents, uris = (found.get(name) or [None] * len(ids) for name in ("documents", "uris"))
    if not len(ids) == len(metadatas) == len(documents) == len(uris):
        raise ValueError("columns of different lengths")
    return Page(ids, vectors, documents, uris, metadatas, faults)


def _cut(answer: bytes, dim: int) -> tuple[NDArray[np.float32] | None, bytes]:
    """(vectors, the answer without them); None where they are not simply all there."""
    start = answer.find(_START)
    if start < 0 or not dim:
        return None, answer
    start += len(_START) - 2
    end = _end(answer, start)
    try:
        numbers = floats(answer[start:end])
    except (ValueError, TypeError, RuntimeError, pa.ArrowInvalid):  # a vector that is missing, or no number
        return None, answer
    if len(numbers) % dim or not np.isfinite(numbers).all():
        return None, answer
    return numbers.reshape(-1, dim), b"".join((answer[:start], b"null", answer[end:]))


def _end(answer: bytes, start: int) -> int:
    """Behind the next two closing brackets. One at a time: `find` is ten times slower in looking for both."""
    at = answer.find(b"]", start)
    while at >= 0 and answer[at + 1 : at + 2] != b"]":
        at = answer.find(b"]", at + 1)
    return at + 2


def floats(text: bytes) -> NDArray[np.float32]:
    """All numbers of a JSON list of lists of numbers, one behind the other.

    Raises:
        ValueError, TypeError, RuntimeError, ArrowInvalid: something else stands there.
    """
    if simdjson is None:
        return _floats_in_arrow(text)
    parser = getattr(_OF_THREAD, "parser", None)  # a new one would have to be given its memory first
    if parser is None:
        parser = _OF_THREAD.parser = simdjson.Parser()
    document = parser.parse(text)
    wide = np.frombuffer(document.as_buffer(of_type="d"), np.float64)
    del document  # only then may the parser go on
    with np.errstate(over="ignore"):
        return wide.astype(np.float32)


def _floats_in_arrow(text: bytes) -> NDArray[np.float32]:
    joined = pa.array([text[2:-2].replace(b"],[", b",")], pa.large_string())
    numbers: NDArray[np.float32] = pc.cast(pc.split_pattern(joined, ",").values, pa.float32()).to_numpy(
        zero_copy_only=False
    )
    return numbers


def _one_by_one(lists: Any, rows: int, dim: int, faults: dict[int, str]) -> NDArray[np.float32]:
    """Vectors of which some are faulty; notes why."""
    vectors = np.zeros((rows, dim), np.float32)
    if not dim:
        return vectors
    for row in range(rows):
        values = lists[row] if lists is not None and row < len(lists) else None
        if values is None:
            faults[row] = _NO_VECTOR
        elif len(values) != dim:
            faults[row] = f"Its vector has {len(values)} components, the collection's have {dim}."
        else:
            with np.errstate(over="ignore"):
                vector = np.array(values, np.float64).astype(np.float32)
            if np.isfinite(vector).all():  # a missing number is NaN here
                vectors[row] = vector
            else:
                faults[row] = _NOT_FINITE
    return vectors
