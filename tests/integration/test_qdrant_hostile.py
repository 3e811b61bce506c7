"""Somebody else's Qdrant collection with every odd payload travels to Chroma and back: each point is what it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest

from vecferry.migration import Migration, migrate
from vecferry.migration.settings import Settings
from vecferry.planning.model import Verdict
from vecferry.planning.options import PlanOptions
from vecferry.testing.servers import QdrantServer


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"d": value}
    return value


PAYLOADS: list[dict[str, Any]] = [
    {"nested": {"a": {"b": [1, 2.5, None, "x", {"c": []}]}}},
    {"null": None, "list with null": [None, 1]},
    {"": 1, "a.b": 2, "a": {"b": 3}, "ä": 1, "long" * 50: "k", "tab\t": 1},
    {"mixed": [1, "a", 1.5, True, None, {"k": 1}, [2]]},
    {"u": 2**64 - 1, "n": 2**63, "least": -(2**63)},
    {"when": "2026-01-02T03:04:05.123456Z", "date": "2026-01-02"},
    {"where": {"lon": 13.4, "lat": 52.5}, "places": [{"lon": 1.0, "lat": 2.0}]},
    {"big": 1e300, "tiny": 5e-324, "third": 1 / 3, "minus zero": -0.0, "one": 1.0, "integer": 1},
    {},
    {"list": [], "object": {}, "text": "", "nul": "a\0b"},
    {"document": "own", "uri": 5, "metadata": {"x": 1}},
    {"document": {"title": "an object"}, "uri": "https://example.org/a"},
    {"document": ["a", "b"], "uri": None},
    {"#hash": 1, "$dollar": 2, "chroma:document": "x"},
    {"deep": nested(30)},
    {"text": "x" * 20_000},
    {"texts": ["a", "b"], "numbers": [1, 2], "floats": [1.0, 2.5], "bools": [True, False]},
]
RESERVED: dict[str, Any] = {"_vf": {"id": "evil", "n": 2}}
"""The one key that is ours: its value comes back, but in a Qdrant collection of ours it stands elsewhere."""


def points(size: int) -> list[dict[str, Any]]:
    numbers = np.random.default_rng(0)
    ids: list[int | str] = [
        n if n % 2 else f"00000000-0000-4000-8000-{n:012}" for n in range(2 * len(PAYLOADS) - 1)
    ] + [2**64 - 1]
    return [
        {"id": one, "vector": numbers.standard_normal(size).astype(np.float32).tolist(), "payload": payload}
        for one, payload in zip(ids, PAYLOADS * 2, strict=True)
    ]


def fill(server: QdrantServer, distance: str) -> str:
    """A collection as a program of one's own writes it, over REST."""
    name = f"hostile-{uuid4()}"
    base = f"{server.http_url}/collections/{name}"
    httpx.put(base, json={"vectors": {"size": 8, "distance": distance}}).raise_for_status()
    body = json.dumps({"points": points(8)})
    httpx.put(f"{base}/points?wait=true", content=body, timeout=30).raise_for_status()
    return name


def stored(server: QdrantServer, name: str) -> dict[str, tuple[str, Any]]:
    """Point id -> payload as canonical text (1 is not 1.0), without our envelope; vector."""
    body = {"limit": 1000, "with_payload": True, "with_vector": True}
    answer = httpx.post(f"{server.http_url}/collections/{name}/points/scroll", json=body, timeout=30)
    return {
        str(point["id"]): (
            json.dumps({k: v for k, v in point["payload"].items() if k != "_vf"}, sort_keys=True),
            point["vector"],
        )
        for point in json.loads(answer.text)["result"]["points"]
    }


@pytest.fixture
def move(tmp_path: Path) -> Callable[..., Migration]:
    def moved(source: str, target: str, name: str) -> Migration:
        settings = Settings(plan=PlanOptions(collections=(name,)), ledger=str(tmp_path / f"{uuid4()}.db"), reports=None)
        return migrate(source, target, settings=settings)

    return moved


@pytest.mark.parametrize("distance", ["Cosine", "Dot"])
def test_to_chroma_and_back(
    qdrant_server: QdrantServer, move: Callable[..., Migration], tmp_path: Path, distance: str
) -> None:
    """Nothing is lost, so that no plan asks for anything; in the end each point is what it was, bit for bit."""
    name = fill(qdrant_server, distance)
    there = move(qdrant_server.url, f"chroma:{tmp_path / 'chroma'}", name)
    back = move(f"chroma:{tmp_path / 'chroma'}", qdrant_server.url, f"{name}={name}-back")
    for trip in (there, back):
        assert trip.differences == 0
        cells = trip.plan.collections[0].cells
        assert {cell.verdict for cell in cells} <= {Verdict.EXACT, Verdict.RESTORABLE}
    assert stored(qdrant_server, f"{name}-back") == stored(qdrant_server, name)


def test_to_qdrant_each_payload_stays_as_its_owner_wrote_it(
    qdrant_server: QdrantServer, move: Callable[..., Migration]
) -> None:
    """An application that reads `document` or `uri`, text or not, finds them where they were."""
    name = fill(qdrant_server, "Dot")
    assert move(qdrant_server.url, qdrant_server.url, f"{name}={name}-copy").differences == 0
    assert stored(qdrant_server, f"{name}-copy") == stored(qdrant_server, name)


def test_a_payload_key_that_is_ours_comes_back(qdrant_server: QdrantServer, move: Callable[..., Migration]) -> None:
    """It moves into our envelope, and is metadata again for whoever reads through vecferry."""
    name = fill(qdrant_server, "Dot")
    base = f"{qdrant_server.http_url}/collections/{name}/points"
    body = {"points": [{"id": 5_000, "vector": [1.0] * 8, "payload": RESERVED}]}
    httpx.put(f"{base}?wait=true", json=body).raise_for_status()
    assert move(qdrant_server.url, qdrant_server.url, f"{name}={name}-copy").differences == 0
