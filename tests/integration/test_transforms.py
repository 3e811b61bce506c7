"""Transforms on real stores: a Chroma directory into a Qdrant server, changed on the way, killed in the middle, proven.

The model is a double (`OpenAiDouble`): it counts the texts that a real one would be paid for.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
import pytest
import qdrant_client

from vecferry.testing.crash import Fault, Outcome, run
from vecferry.testing.http_double import Refusal
from vecferry.testing.openai_double import OpenAiDouble, vector_of
from vecferry.transforms.embedder import PROBE

pytestmark = [pytest.mark.qdrant, pytest.mark.slow]

MANUAL, FAQ, DIM = 300, 120, 5
CLIENTS = ("acme", "b&b", "zeta")


def _texts(name: str, count: int) -> list[str]:
    """Every tenth text occurs twice."""
    return [f"{name} text {n // 2 if n % 10 == 1 else n}" for n in range(count)]


@pytest.fixture(scope="module")
def chroma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two collections under one kind of ids, some of them equal, written by Chroma itself."""
    path = tmp_path_factory.mktemp("chroma") / "chroma_db"
    client = chromadb.PersistentClient(str(path), settings=chromadb.Settings(anonymized_telemetry=False))
    for name, count in (("manual", MANUAL), ("faq", FAQ)):
        client.create_collection(name, metadata={"hnsw:space": "cosine"}).add(
            ids=[f"{n:04}" for n in range(count)],
            embeddings=np.random.default_rng(count).standard_normal((count, DIM)).astype(np.float32),
            documents=_texts(name, count),
            metadatas=[{"src": f"{name}.pdf", "page": str(n), "client": CLIENTS[n % 3]} for n in range(count)],
        )
    return path


class Story:
    """The command line with a ledger and an embedding cache of its own, and a prefix of names in a shared server."""

    def __init__(self, folder: Path, chroma: Path, qdrant: Any) -> None:
        self.folder, self.source, self.target = folder, f"chroma:{chroma}", str(qdrant.url)
        self.name = f"t-{uuid.uuid4().hex[:8]}"
        self.client = qdrant_client.QdrantClient(url=qdrant.http_url)

    def __call__(self, *arguments: str, fault: Fault | None = None, expect: int = 0) -> Outcome:
        env = {
            "VECFERRY_LEDGER": str(self.folder / "ledger.db"),
            "VECFERRY_EMBEDDINGS": str(self.folder / "embeddings.sqlite"),
            "MODEL_KEY": "the-key",
            "COLUMNS": "200",
        }
        done = run("vecferry", arguments, log=self.folder / "points", fault=fault, env=env)
        assert done.killed if fault is not None else done.returncode == expect, done.stdout + done.stderr
        return done

    def write(self, text: str) -> str:
        path = self.folder / "transform.yaml"
        path.write_text(text.replace("NAME", self.name))
        return str(path)

    def points(self, name: str) -> list[Any]:
        return self.client.scroll(name, limit=10_000, with_vectors=True, with_payload=True)[0]

    def close(self) -> None:
        for found in self.client.get_collections().collections:
            if found.name.startswith(self.name):
                self.client.delete_collection(found.name)
        self.client.close()


@pytest.fixture
def story(tmp_path: Path, chroma: Path, qdrant_server: Any) -> Iterator[Story]:
    made = Story(tmp_path, chroma, qdrant_server)
    yield made
    made.close()


@pytest.fixture
def double() -> Iterator[OpenAiDouble]:
    with OpenAiDouble(key="the-key") as running:
        yield running


STEPS = """
      - rename: {src: source}
      - cast: {page: int}
      - constant: {tenant: digi}
      - compute: {ref: "{source}#{page}"}
      - ids: "{@collection}:{@id}"
      - re_embed: {url: URL, model: small, api_key: "env:MODEL_KEY", batch: 16, concurrency: 2, price: 20}
"""
MERGED = f"""
collections:
  - source: manual
    target: NAME
    transforms:
      - constant: {{collection: manual}}{STEPS}
  - source: faq
    target: NAME
    transforms:
      - constant: {{collection: faq}}{STEPS}
"""


def test_merged_renamed_and_embedded_anew_and_killed_in_the_middle(story: Story, double: OpenAiDouble) -> None:
    """Killed twice and throttled once: every text is paid once, and what Qdrant holds then is what was asked for."""
    recipe = story.write(MERGED.replace("URL", double.url))
    wanted = {PROBE, *_texts("manual", MANUAL), *_texts("faq", FAQ)}
    plan = story.folder / "plan.yaml"
    shown = story("plan", story.source, story.target, "--transform", recipe, "--output", str(plan), "-q").stdout
    assert dict(double.paid) == {PROBE: 1}
    assert "At most 420 texts to embed" in " ".join(shown.split())
    assert "re-embed with small at" in shown

    arguments = (
        "migrate",
        story.source,
        story.target,
        "--transform",
        recipe,
        "--yes",
        "--json",
        "--report",
        str(story.folder),
    )
    arguments += ("--batch-bytes", "4096")
    story(*arguments, fault=Fault(point="batch.written", nth=3))
    before = len(double.paid)
    assert 1 < before < len(wanted)
    double.refuse = lambda number, _: Refusal(429, {"Retry-After": "0"}) if number % 5 == 0 else None
    story(*arguments, fault=Fault(point="collection.copied"))
    done = json.loads(story(*arguments).stdout)

    assert double.paid == dict.fromkeys(wanted, 1)
    assert (done["differences"], done["records"]) == (0, MANUAL + FAQ)
    points = story.points(story.name)
    assert Counter(point.payload["metadata"]["collection"] for point in points) == {"manual": MANUAL, "faq": FAQ}
    for point in points:
        metadata = point.payload["metadata"]
        assert np.allclose(point.vector, vector_of("small", point.payload["document"]), atol=1e-6)
        assert set(metadata) == {"source", "page", "tenant", "client", "collection", "ref"}
        assert metadata["ref"] == f"{metadata['source']}#{metadata['page']}"
        assert type(metadata["page"]) is int
    report = json.loads((story.folder / done["run"] / "report.json").read_text())
    assert report["verdict"]["kind"] == "proven"
    assert "manual: rename src to source" in report["collections"][0]["transforms"]

    again = story("verify", story.source, story.target, "--transform", recipe, "--json").stdout
    assert (json.loads(again)["differences"], json.loads(again)["ok"]) == (0, True)
    assert double.paid == dict.fromkeys(wanted, 1)
    blind = story("verify", story.source, story.target, "-c", f"manual={story.name}", expect=1)
    assert "moved through transforms" in blind.stdout + blind.stderr


def test_damage_behind_a_transform_is_found_and_repaired(story: Story, double: OpenAiDouble) -> None:
    """One payload overwritten, one point deleted: both are named by the id that the transform gave them."""
    recipe = story.write(MERGED.replace("URL", double.url))
    story("migrate", story.source, story.target, "--transform", recipe, "--yes", "-q", "--report", str(story.folder))
    blank, gone = story.points(story.name)[:2]
    story.client.set_payload(story.name, {"document": "damaged"}, [blank.id], wait=True)
    story.client.delete(story.name, [gone.id], wait=True)
    both = (story.source, story.target, "--transform", recipe, "--json")
    found = json.loads(story("verify", *both, expect=1).stdout)
    named = {
        f["id"]
        for c in found["collections"]
        for check in c["checks"]
        for f in check["findings"]
        if check["level"] in ("ids", "content")
    }
    assert named == {point.payload["_vf"]["id"] for point in (blank, gone)}
    assert all(":" in name for name in named)
    mended = json.loads(story("repair", *both, "--yes").stdout)
    assert (mended["differences"], mended["collections"][0]["rewritten"]) == (0, 2)


def test_split_by_a_key_and_merged_back(story: Story) -> None:
    """Three collections, one for each client; then one again in an archive: the records of the first, bit for bit."""
    split = story.write("collections: [{source: manual, split: client, target: 'NAME-{value}'}]")
    quiet = ("--yes", "--json", "--report", str(story.folder))
    done = json.loads(
        story(
            "migrate",
            story.source,
            story.target,
            "-c",
            "manual*",
            "--transform",
            split,
            "--exact-vectors",
            "keep",
            *quiet,
        ).stdout
    )
    assert {c["target"]: c["records"] for c in done["collections"]} == {
        f"{story.name}-{label}": MANUAL // 3 for label in ("acme", "b-b-cf362eca", "zeta")
    }
    assert done["differences"] == 0
    for label, client in (("acme", "acme"), ("b-b-cf362eca", "b&b")):
        found = {point.payload["metadata"]["client"] for point in story.points(f"{story.name}-{label}")}
        assert found == {client}
    archive = f"files:{story.folder / 'archive'}"
    merged = story.write("collections: [{source: 'NAME-*', target: manual}]")
    back = json.loads(
        story("migrate", story.target, archive, "-c", f"{story.name}-*", "--transform", merged, *quiet).stdout
    )
    assert (back["records"], back["differences"]) == (MANUAL, 0)
    assert (
        json.loads(story("verify", story.source, archive, "-c", "manual", "--no-parity", "--json").stdout)[
            "differences"
        ]
        == 0
    )


def test_equal_ids_do_not_meet_in_a_merge(story: Story) -> None:
    """Refused before anything is written, with the transform that keeps them apart; done with it."""
    renames = ("-c", f"manual={story.name}", "-c", f"faq={story.name}")
    refused = story("migrate", story.source, story.target, *renames, "--yes", "-q", expect=3)
    assert "occurs 2 times" in refused.stderr
    assert "ids: '{@collection}:{@id}'" in " ".join(refused.stderr.split())
    assert not story.client.collection_exists(story.name)
    apart = story.write("collections: [{source: faq, transforms: [ids: 'faq-{@id}']}]")
    arguments = ("migrate", story.source, story.target, *renames, "--transform", apart, "--yes", "--json")
    done = json.loads(story(*arguments, "--report", str(story.folder)).stdout)
    assert (done["records"], done["differences"]) == (MANUAL + FAQ, 0)
