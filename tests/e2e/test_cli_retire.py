"""`vecferry retire`: nothing goes before its name is typed and an archive of it is verified, which restores it."""

from __future__ import annotations

import shlex
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.command import Vecferry, everything_in
from tests.e2e.stores import docs, points
from tests.integration.chroma_process import ChromaProcess, pack

pytestmark = pytest.mark.qdrant
FEW = ("--queries", "3")


def same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    """The same records in the same order, vectors to the bit."""
    plain = [[{k: v for k, v in record.items() if k != "vector"} for record in records] for records in (one, other)]
    pairs = zip(one, other, strict=True)
    return plain[0] == plain[1] and all(np.array_equal(a["vector"], b["vector"]) for a, b in pairs)


@pytest.fixture
def source(small: Path, tmp_path: Path) -> Path:
    path = tmp_path / "chroma_db"
    shutil.copytree(small, path)
    return path


def test_a_directory_goes_and_comes_back(
    source: Path, chroma_process: ChromaProcess, qdrant_server: Any, name: str, vecferry: Vecferry
) -> None:
    """Refused until it is known to be moved, until somebody can type, and until the right name is typed."""
    url = f"chroma:{source}"
    before = everything_in(source)
    unmoved = vecferry("retire", url, "--confirm", "chroma_db", expect=3)
    assert "no verified migration" in unmoved.text
    vecferry("migrate", url, qdrant_server.url, "-c", f"docs={name}", "--yes", *FEW)
    assert "--confirm" in vecferry("retire", url, expect=3).text
    assert "its name is 'chroma_db'" in vecferry("retire", url, "--confirm", "docs", expect=3).text
    wrong = vecferry.talk("retire", url, answers="yes\n", expect=3)
    assert f"the directory {source}" in wrong.text
    assert "the name was not typed" in wrong.text
    assert everything_in(source) == before

    records = chroma_process.dump(source, name="docs")
    done = vecferry.talk("retire", url, answers="chroma_db\n")
    assert not source.exists()
    assert sorted(path.name for path in source.parent.iterdir()) == ["work"]
    (command,) = [line.strip() for line in done.out.splitlines() if line.startswith("  vecferry migrate files:")]
    vecferry(*shlex.split(command)[1:], "--yes", *FEW)
    assert same(chroma_process.dump(source, name="docs"), records)


def test_an_archive_that_is_not_whole(
    source: Path, chroma_process: ChromaProcess, qdrant_server: Any, name: str, vecferry: Vecferry
) -> None:
    """What was written since is missing in the archive named: nothing goes, whatever the ledger says."""
    url = f"chroma:{source}"
    vecferry("migrate", url, "files:archive", "--yes", "--no-verify")
    update = {"do": "update", "ids": ["doc-00007"], "metadatas": [{"page": 777}]}
    chroma_process.apply(source, [update], name="docs")
    vecferry("migrate", url, qdrant_server.url, "-c", f"docs={name}", "--yes", *FEW)
    refused = vecferry("retire", url, "--archive", "archive", "--confirm", "chroma_db", expect=3)
    assert "differ in 1 places" in refused.text
    assert source.exists()

    more = {"do": "add", "ids": ["new"], "embeddings": [pack([1.0] * 8)], "documents": ["new"]}
    chroma_process.apply(source, [more], name="docs")
    grown = vecferry("retire", url, "--confirm", "chroma_db", expect=3)
    assert "vecferry sync" in grown.text
    assert source.exists()


def test_one_collection_of_several(
    source: Path, chroma_process: ChromaProcess, vecferry: Vecferry, tmp_path: Path
) -> None:
    """Dropped by its name through the store's own client; the others stay. Unverified only where that is said."""
    docs(chroma_process, source, 3, name="old")
    url = f"chroma:{source}"
    vecferry("retire", url, "-c", "old", "--confirm", "old", expect=3)
    into = f"files:{tmp_path / 'kept'}"
    done = vecferry("retire", url, "-c", "old", "--confirm", "old", "--unverified", "--into", into, "--json").json
    assert (done["records"], done["archive"]) == (3, into)
    left = vecferry("inspect", url, "--json").json
    assert [p["spec"]["name"] for p in left["profiles"]] == ["docs"]
    kept = vecferry("inspect", into, "--json").json
    assert [(p["spec"]["name"], p["records"]) for p in kept["profiles"]] == [("old", 3)]


def test_an_archive_under_other_names(
    source: Path, chroma_process: ChromaProcess, vecferry: Vecferry, tmp_path: Path
) -> None:
    """The way back names collections as the archive does: swapped or new names are refused, whatever the cards say."""
    docs(chroma_process, source, 3, name="other")
    url = f"chroma:{source}"
    retire = ("retire", url, "--unverified", "--confirm", "chroma_db", "--archive")
    vecferry("migrate", url, "files:swapped", "-c", "docs=other", "-c", "other=docs", "--yes", "--no-verify")
    swapped = vecferry(*retire, "files:swapped", expect=3)
    assert "differ in" in swapped.text
    assert "-c docs=docs" in swapped.text
    vecferry("migrate", url, "files:renamed", "-c", "docs=new", "-c", "other", "--yes", "--no-verify")
    renamed = vecferry(*retire, "files:renamed", expect=3)
    assert "holds no collection named 'docs'; it holds 'new', 'other'" in renamed.text
    assert source.exists()
    vecferry("migrate", url, "files:straight", "--yes", "--no-verify")
    vecferry(*retire, "files:straight")
    assert not source.exists()


def test_a_change_that_the_target_lacks(
    source: Path, chroma_process: ChromaProcess, qdrant: Any, qdrant_server: Any, name: str, vecferry: Vecferry
) -> None:
    """As many records as were moved, and one of them changed since: refused until the target has it."""
    from qdrant_client import models

    url, target = f"chroma:{source}", qdrant_server.url
    vecferry("migrate", url, target, "-c", f"docs={name}", "--yes", *FEW)
    update = {"do": "update", "ids": ["doc-00007"], "metadatas": [{"page": 777}]}
    chroma_process.apply(source, [update], name="docs")
    refused = vecferry("retire", url, "--confirm", "chroma_db", expect=3)
    assert f"The target {target} differs in 1 places" in refused.text
    sync = ["vecferry", "sync", url, target, "-c", f"docs={name}"]
    assert shlex.join(sync) in refused.text
    assert source.exists()

    vecferry(*sync[1:], "--yes", *FEW)
    own = {
        "id": str(uuid.uuid4()),
        "vector": next(iter(points(qdrant, name).values())).vector,
        "payload": {"by": "app"},
    }
    qdrant.upsert(name, [models.PointStruct(**own)], wait=True)
    vecferry("retire", url, "--confirm", "chroma_db")
    assert not source.exists()


def test_a_target_that_cannot_be_opened(source: Path, vecferry: Vecferry, tmp_path: Path) -> None:
    """Nobody can tell whether it has everything: refused, unless that is said to be no matter."""
    url, target = f"chroma:{source}", tmp_path / "target"
    vecferry("migrate", url, f"chroma:{target}", "--yes", *FEW)
    target.rename(tmp_path / "away")
    target.write_text("no directory")
    refused = vecferry("retire", url, "--confirm", "chroma_db", expect=None)
    assert refused.code, refused
    assert f"The target chroma:{target} cannot be compared" in refused.text
    assert "--unverified" in refused.text
    assert source.exists()
    vecferry("retire", url, "--confirm", "chroma_db", "--unverified")
    assert not source.exists()
