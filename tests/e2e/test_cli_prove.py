"""verify, repair, compare, report and status, after somebody tampered with the target."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import Vecferry
from tests.e2e.stores import DIM, occupied, points

pytestmark = pytest.mark.qdrant


@pytest.fixture
def moved(small: Path, qdrant_server: Any, name: str, vecferry: Vecferry) -> tuple[str, str]:
    """`docs`, in Qdrant under `name`; the two stores."""
    stores = (f"chroma:{small}", qdrant_server.url)
    vecferry("migrate", *stores, "-c", f"docs={name}", "--yes", "--quiet", "--no-verify")
    return stores


def tamper(client: Any, name: str) -> str:
    """Change, delete and add, with Qdrant's own client; returns the id of what was added."""
    from qdrant_client import models

    ids = {source: point.id for source, point in points(client, name).items()}
    client.set_payload(name, {"document": "not what it was"}, points=[ids["doc-00003"]], wait=True)
    client.delete(name, [ids["doc-00005"]], wait=True)
    client.set_payload(name, {"page": 11.0}, points=[ids["doc-00011"]], key="metadata", wait=True)
    client.update_vectors(name, [models.PointVectors(id=ids["doc-00013"], vector=[1.0] * DIM)], wait=True)
    added = str(uuid.uuid4())
    client.upsert(name, [models.PointStruct(id=added, vector=[1.0] * DIM, payload={"document": "mine"})], wait=True)
    return added


def found(proof: dict[str, Any]) -> dict[str, set[str]]:
    """Difference -> ids of records, in a verification."""
    result: dict[str, set[str]] = {}
    for collection in proof["collections"]:
        for check in collection["checks"]:
            for one in check["findings"] if check["level"] in {"ids", "content"} else ():
                result.setdefault(one["difference"], set()).add(one["id"])
    return result


def test_tampering_is_named_and_mended(moved: tuple[str, str], qdrant: Any, name: str, vecferry: Vecferry) -> None:
    """Every touched record by id and no other; repair mends them, and leaves the foreign one until told otherwise."""
    which = (*moved, "-c", f"docs={name}")
    before = points(qdrant, name)
    added = tamper(qdrant, name)

    seen = vecferry("verify", *which, "--no-parity", "--json", "--report", "proof", expect=1)
    assert found(seen.json) == {
        "changed": {"doc-00003", "doc-00011", "doc-00013"},
        "missing": {"doc-00005"},
        "extra": {added},
    }
    assert (seen.json["ok"], seen.json["differences"]) == (False, 5)
    report = json.loads((vecferry.folder / "proof" / "report.json").read_text())
    assert report["verdict"]["kind"] == "different"
    page = (vecferry.folder / "proof" / "report.html").read_text()
    for_people = vecferry("verify", *which, "--no-parity", expect=1)
    for ident in ("doc-00003", "doc-00005", "doc-00011", "doc-00013", added):
        assert ident in page
        assert ident in for_people.out
    assert "not what it was" not in page + for_people.out, "content of records does not belong into messages"

    refused = vecferry("repair", *which, expect=3)
    assert "--yes" in refused.err
    mended = vecferry("repair", *which, "--yes", "--json", expect=1).json
    (one,) = mended["collections"]
    assert (one["rewritten"], one["deleted"], one["extra_left"]) == (4, 0, 1)
    assert found(mended["after"]) == {"extra": {added}}
    cleaned = vecferry("repair", *which, "--yes", "--delete-extra", "--json").json
    assert (cleaned["collections"][0]["deleted"], cleaned["ok"]) == (1, True)

    after = points(qdrant, name)
    assert after.keys() == before.keys()
    assert all(after[ident].payload == point.payload for ident, point in before.items())
    assert all(after[ident].vector == point.vector for ident, point in before.items())


def test_a_migration_that_is_verified_says_so_everywhere(
    small: Path, qdrant_server: Any, name: str, vecferry: Vecferry
) -> None:
    """Last screen, report, `report` and `status` tell one story; the commands that it suggests work as they stand."""
    import shlex

    done = vecferry("migrate", f"chroma:{small}", qdrant_server.url, "-c", f"docs={name}", "--yes")
    assert "Every record was compared, and nothing differs." in done.out
    (folder,) = (vecferry.folder / "vecferry-reports").iterdir()
    assert str(folder.relative_to(vecferry.folder)) in done.out

    suggested = [line.strip() for line in done.out.splitlines() if line.startswith("    vecferry ")]
    assert [line.split()[1] for line in suggested] == ["compare", "sync"]
    compared = vecferry(*shlex.split(suggested[0])[1:], "--queries", "5", "--json").json
    (one,) = compared["comparisons"]
    assert one["source"]["store"] == "chroma"
    assert one["target"]["store"] == "qdrant"
    assert 0 < one["target"]["p50_ms"] <= one["target"]["p95_ms"]
    assert vecferry(*shlex.split(suggested[1])[1:], "--yes", "--json").json["ok"]

    assert vecferry("report", folder, "--json").json == json.loads((folder / "report.json").read_text())
    vecferry("report", folder, "--output", "again.html")
    assert name in (vecferry.folder / "again.html").read_text()

    _, run = vecferry("status", "--json").json["runs"]
    assert (run["state"], run["records"], run["done"]) == ("done", 40, 40)
    assert name in run["collections"][0]["target"]
    assert folder.name in vecferry("status").out


def test_stores_that_lack_the_collection(
    small: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry
) -> None:
    """Verifying against a target without the collection is a difference or a refusal that names it, never a pass."""
    occupied(qdrant, f"{name}-another")
    done = vecferry("verify", f"chroma:{small}", qdrant_server.url, "-c", f"docs={name}", "--no-parity", expect=None)
    assert done.code in {1, 5}
    assert name in done.text
