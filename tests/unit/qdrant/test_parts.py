"""The small parts: varints, lengths, ranges of ids, errors that name the way out and hide the key."""

from __future__ import annotations

from uuid import UUID

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecferry.connectors.qdrant import _ids, failures
from vecferry.connectors.qdrant._codec import norms, wire
from vecferry.errors import AlreadyExists, AuthFailed, ConnectorError, NotFound, StoreFull, Throttled, Unavailable
from vecferry.web.answers import Answer


@given(number=st.integers(0, 2**64 - 1))
def test_varints_come_back(number: int) -> None:
    raw = b"?" + wire.varint(number) + b"?"
    assert wire.read_varint(raw, 1) == (number, len(raw) - 1)


@given(shares=st.lists(st.lists(st.integers(0, 2**32 - 1), max_size=5), min_size=1, max_size=4))
def test_packed_varints_come_back(shares: list[list[int]]) -> None:
    """The vectorised writer writes what the simple one writes, and the reader undoes it."""
    offsets = np.cumsum([0, *map(len, shares)]).astype(np.int64)
    packed = wire.packed_varints(np.array([n for share in shares for n in share], np.uint32), offsets)
    assert packed == [b"".join(map(wire.varint, share)) for share in shares]
    assert [wire.unpack_varints(raw).tolist() for raw in packed] == shares


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), dim=st.integers(1, 300), cut=st.integers(0, 20))
def test_scaling_does_not_depend_on_the_batch(seed: int, dim: int, cut: int) -> None:
    """The same vector alone and in any batch gives the same bits: verification elsewhere must foretell them."""
    random = np.random.default_rng(seed)
    values = (random.standard_normal((21, dim)) * 10.0 ** random.uniform(-20, 20, (21, 1))).astype(np.float32)
    whole, lengths = norms.scale(values)
    for part, start in ((values[:cut], 0), (values[cut:], cut)):
        scaled, own = norms.scale(np.ascontiguousarray(part))
        assert scaled.tobytes() == whole[start : start + len(part)].tobytes()
        assert own.tobytes() == lengths[start : start + len(part)].tobytes()


def test_lengths_close_to_one_are_one() -> None:
    """A vector that Qdrant leaves alone is sent as it is; so is zero."""
    values = np.array([[0.6, 0.8], [0.0, 0.0], [0.6000001, 0.8], [3, 4]], np.float32)
    scaled, lengths = norms.scale(values)
    assert lengths.tolist() == [1.0, 1.0, 1.0, 5.0]
    assert scaled[:3].tobytes() == values[:3].tobytes()


@given(length=st.floats(1e-40, 1e40))
def test_lengths_are_said_exactly(length: float) -> None:
    """A length as JSON value is read back as the number that was used for scaling."""
    rounded = float(norms._rounded(np.array([length]))[0])
    assert abs(rounded - length) <= 1e-9 * length
    assert float(norms.sayable(rounded)) == rounded


IDS = st.lists(st.integers(0, 2**64 - 1) | st.uuids().map(str), max_size=30)


@settings(max_examples=100, deadline=None)
@given(ids=IDS, shares=st.integers(1, 9))
def test_ranges_cover_every_id_once(ids: list[int | str], shares: int) -> None:
    """Whatever ids there are, each lies in exactly one range, and in one of a bound text too."""
    ordered = sorted(ids, key=lambda point: _ids.order(str(point)))

    def probe(start: int | str) -> list[int | str]:
        return [p for p in ordered if _ids.order(str(p)) >= _ids.order(str(start))][:1]

    ranges = [_ids.Bounds.of(bound.text()) for bound in _ids.split(probe, shares)]
    for point in [*map(str, ids), "0", str(_ids.MAX_NUMBER), _ids.FIRST_UUID, str(UUID(int=_ids.MAX_UUID))]:
        inside = [b for b in ranges if _ids.order(b.start) <= _ids.order(point) and b.holds(point)]
        assert len(inside) == 1, point


def test_behind_is_the_very_next_id() -> None:
    """Positions are exclusive: the next id, over the edge between numbers and UUIDs, and none behind the last."""
    assert _ids.behind("41") == "42"
    assert _ids.behind(str(2**64 - 1)) == _ids.FIRST_UUID
    assert _ids.behind(_ids.FIRST_UUID) == str(UUID(int=1))
    assert _ids.behind(str(UUID(int=2**128 - 1))) is None


@pytest.mark.parametrize(
    "status,said,kind",
    [
        (401, "Invalid API key", AuthFailed),
        (403, "Forbidden", AuthFailed),
        (404, "Collection `x` doesn't exist!", NotFound),
        (409, "Collection `x` already exists!", AlreadyExists),
        (413, "", failures.TooLarge),
        (
            400,
            "Payload error: JSON payload (43467428 bytes) is larger than allowed (limit: 33554432 bytes).",
            failures.TooLarge,
        ),
        (429, "Rate limiting exceeded", Throttled),
        (500, "Service internal error: No space left on device: WAL", StoreFull),
        (500, "Service internal error: Read-only file system (os error 30)", StoreFull),
        (500, "Timeout error: Operation 'Update' timed out after 60 seconds", Unavailable),
        (503, "Service Unavailable", Unavailable),
        (500, "Service internal error: RocksDB", ConnectorError),
    ],
)
def test_answers_become_the_right_error(status: int, said: str, kind: type[ConnectorError]) -> None:
    """Each refusal has the class that the engine decides by, repeats what the server said, and gives advice."""
    body = httpx.Response(status, json={"status": {"error": said}}).text
    error = failures.of_answer(Answer(status, {}, body), "Qdrant at here:6333")
    assert type(error) is kind
    assert said in error.message
    assert error.hint


def test_retry_after_is_read() -> None:
    """In seconds, from the header, or from the text."""
    header = failures.of_answer(Answer(429, {"retry-after": "7"}, "slow down"), "s")
    text = failures.of_answer(Answer(429, {}, "Retry after 2.5s"), "s")
    assert isinstance(header, Throttled)
    assert isinstance(text, Throttled)
    assert (header.retry_after, text.retry_after) == (7.0, 2.5)
