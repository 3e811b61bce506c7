"""`vecferry migrate` and `vecferry plan` as processes: consent, what stands in the target, names, plan files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.command import Vecferry, everything_in
from tests.e2e.stores import docs, occupied, original, points
from tests.integration.chroma_process import ChromaProcess

pytestmark = pytest.mark.qdrant
QUICK = ("--no-verify", "--quiet")


def test_without_a_terminal_and_without_yes_nothing_is_written(
    small: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry
) -> None:
    """Exit 3 before the first write; the plan was shown, no run is left behind."""
    done = vecferry("migrate", f"chroma:{small}", qdrant_server.url, "-c", f"docs={name}", expect=3)
    assert "--yes" in done.err
    assert "40 records" in done.err
    assert not qdrant.collection_exists(name)
    assert vecferry("status", "--json").json == {"runs": []}
    assert not (vecferry.folder / "vecferry-reports").exists()
    assert not list((vecferry.folder / "state").glob("snapshots/*"))


def test_a_foreign_collection_is_not_touched_on_yes_alone(
    small: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry
) -> None:
    """`--yes` and `--if-exists refuse` leave it as it was; `recreate` replaces it, once its records are spoken for."""
    occupied(qdrant, name)
    move = ("migrate", f"chroma:{small}", qdrant_server.url, "-c", f"docs={name}", "--yes", *QUICK)
    for choice in ((), ("--if-exists", "refuse"), ("--if-exists", "recreate")):
        asked = vecferry(*move, *choice, expect=3)
        assert name in asked.err
        assert ("--no-backup" if "recreate" in choice else "--if-exists") in asked.err
        assert len(points(qdrant, name)) == 3
    vecferry(*move, "--if-exists", "recreate", "--no-backup")
    assert {ident[:4] for ident in points(qdrant, name)} == {"doc-"}


def test_append_and_ids_that_are_there_already(
    small: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry
) -> None:
    """Refused unless told; `skip` keeps the target's record, `replace` writes the source's.

    The refusal binds nobody: the answer to it is the same command with another option.
    """
    move = ("migrate", f"chroma:{small}", qdrant_server.url, "-c", f"docs={name}", "--yes", *QUICK)
    vecferry(*move)
    (changed,) = [p for p in points(qdrant, name).values() if original(p) == "doc-00007"]
    qdrant.set_payload(name, {"document": "changed by the app"}, points=[changed.id], wait=True)
    qdrant.delete(name, [p.id for p in points(qdrant, name).values() if original(p) == "doc-00009"], wait=True)

    refused = vecferry(*move, "--if-exists", "append", expect=3)
    assert "doc-000" in refused.err
    assert "--on-conflict" in refused.err
    assert len(points(qdrant, name)) == 39

    skipped = vecferry(*move, "--if-exists", "append", "--on-conflict", "skip", "--json").json
    assert (skipped["records"], skipped["skipped"]) == (1, 39)
    assert points(qdrant, name)["doc-00007"].payload["document"] == "changed by the app"

    vecferry(*move, "--if-exists", "append", "--on-conflict", "replace")
    assert points(qdrant, name)["doc-00007"].payload["document"] == "document 7"
    assert len(points(qdrant, name)) == 40


def test_a_collection_of_another_form_is_refused(
    small: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry
) -> None:
    """Another dimension, another metric: exit 3, said with both figures, nothing written."""
    occupied(qdrant, f"{name}-dim", dim=12)
    occupied(qdrant, f"{name}-metric", distance="Dot")
    for kind, words in (("dim", ("12", "8")), ("metric", ("ip", "cosine"))):
        move = ("migrate", f"chroma:{small}", qdrant_server.url, "-c", f"docs={name}-{kind}", "--yes", *QUICK)
        done = vecferry(*move, "--if-exists", "append", expect=3)
        assert f"{name}-{kind}" in done.err
        assert all(word in done.err for word in words), done
        assert qdrant.count(f"{name}-{kind}").count == 3


def test_globs_choose_and_rename(
    chroma_process: ChromaProcess, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry, tmp_path: Path
) -> None:
    """`'team-*=x-*'` moves what fits under new names, and nothing else; verify finds it without being told."""
    path = tmp_path / "chroma_db"
    for one in ("team-a", "team-b", "other"):
        docs(chroma_process, path, 5, name=one)
    stores = (f"chroma:{path}", qdrant_server.url)
    said = vecferry("migrate", *stores, "-c", f"team-*={name}-*", "--yes", *QUICK, "--json").json
    assert [one["target"] for one in said["collections"]] == [f"{name}-a", f"{name}-b"]
    there = {one.name for one in qdrant.get_collections().collections}
    assert {f"{name}-a", f"{name}-b"} <= there
    assert "other" not in there
    proof = vecferry("verify", *stores, "-c", "team-*", "--no-parity", "--json").json
    assert {(one["target"], one["differences"]) for one in said_of(proof)} == {(f"{name}-a", 0), (f"{name}-b", 0)}
    unknown = vecferry("migrate", *stores, "-c", "teem-a", "--yes", expect=5)
    assert "teem-a" in unknown.err
    assert "team-a" in unknown.err, "the neighbours are named"


def said_of(proof: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"target": one["target"], "differences": sum(check["differences"] for check in one["checks"])}
        for one in proof["collections"]
    ]


def test_a_plan_file_goes_round(
    chroma_process: ChromaProcess, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry, tmp_path: Path
) -> None:
    """Written, edited (another name, a policy, an index), reviewed, run: what was edited is what happens."""
    path = tmp_path / "chroma_db"
    docs(chroma_process, path, 5)
    zero = {"do": "add", "ids": ["nil"], "embeddings": ["AAAA" * 10 + "AAA="], "documents": ["no direction"]}
    chroma_process.apply(path, [zero], name="docs")
    stores = (f"chroma:{path}", qdrant_server.url)
    before = {one.name for one in qdrant.get_collections().collections}
    vecferry("plan", *stores, "--output", "plan.yaml")
    assert {one.name for one in qdrant.get_collections().collections} == before, "a plan touches nothing"

    file = vecferry.folder / "plan.yaml"
    plan = yaml.safe_load(file.read_text())
    (collection,) = plan["collections"]
    collection["target"]["name"] = name
    collection["target"]["indexes"] = [{"key": "source", "kind": "keyword"}]
    refused = [cell for cell in collection["cells"] if cell.get("policy") == "refuse"]
    assert not refused, "Qdrant takes zero vectors"
    file.write_text(yaml.safe_dump(plan))
    both = vecferry("migrate", "--plan", "plan.yaml", "--layout", "flat", "--yes", expect=2)
    assert "--layout does not go with --plan" in both.err
    said = vecferry("migrate", "--plan", "plan.yaml", "--yes", *QUICK, "--json").json
    assert [one["target"] for one in said["collections"]] == [name]
    assert (said["records"], said["rejected"]) == (6, 0)
    assert vecferry("migrate", "--plan", "plan.yaml", "--yes", *QUICK, "--json").json["kept"] == 6
    vecferry("migrate", "--plan", "plan.yaml", "--yes", *QUICK, "--if-exists", "recreate")
    schema = qdrant.get_collection(name).payload_schema
    assert {key for key in schema if key.startswith("metadata")} == {"metadata.source"}


def test_a_plan_file_of_other_stores_is_refused(
    small: Path, larger: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry
) -> None:
    """A plan is for the stores that it was made of; so is a typing error in it found before anything is written."""
    vecferry("plan", f"chroma:{small}", qdrant_server.url, "-c", f"docs={name}", "--output", "plan.yaml", "-q")
    other = vecferry("migrate", f"chroma:{larger}", qdrant_server.url, "--plan", "plan.yaml", "--yes", expect=2)
    assert str(small) in other.err
    assert str(larger) in other.err
    file = vecferry.folder / "plan.yaml"
    file.write_text(file.read_text().replace("if_exists: ask", "if_exists: maybe"))
    typing_error = vecferry("migrate", "--plan", "plan.yaml", "--yes", expect=2)
    assert "if_exists" in typing_error.err
    assert not qdrant.collection_exists(name)


def test_the_environment_names_the_stores(
    small: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry
) -> None:
    """`CHROMA_DB_PATH` with `QDRANT_URL`, and `CHROMA_PERSIST_DIR` with `QDRANT_HOST` and `QDRANT_PORT`."""
    first = {"CHROMA_DB_PATH": str(small), "QDRANT_URL": qdrant_server.http_url}
    vecferry("migrate", "-c", f"docs={name}", "--yes", *QUICK, env=first)
    assert qdrant.count(name).count == 40
    port = str(qdrant_server.http_port)
    second = {"CHROMA_PERSIST_DIR": str(small), "QDRANT_HOST": "127.0.0.1", "QDRANT_PORT": port}
    said = vecferry("migrate", "-c", f"docs={name}-2", "--dry-run", "--json", env=second).json
    assert f":{port}" in said["plan"]["target_url"]
    assert said["plan"]["source_url"] == f"chroma:{small}"


def test_no_escape_codes_in_a_pipe_and_none_with_no_color(
    small: Path, qdrant_server: Any, name: str, vecferry: Vecferry
) -> None:
    """Nothing but text reaches a pipe: no colours, no moving bars; NO_COLOR holds even where colours are forced."""
    move = ("migrate", f"chroma:{small}", qdrant_server.url, "-c", f"docs={name}")
    piped = vecferry(*move, "--yes")
    plain = vecferry(*move, "--dry-run", env={"NO_COLOR": "1", "FORCE_COLOR": "1"})
    assert "\x1b" not in piped.out + piped.err
    assert "\x1b[3" not in plain.out + plain.err
    assert "copy docs: 40 records in" in piped.err.replace("default_tenant/default_database/", "")


def test_a_dry_run_leaves_no_trace(small: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry) -> None:
    """No collection, no ledger, no report, and the source as it was, to the byte and the modification time."""
    before = everything_in(small)
    vecferry("migrate", f"chroma:{small}", qdrant_server.url, "-c", f"docs={name}", "--dry-run")
    assert everything_in(small) == before
    assert everything_in(vecferry.folder) == {}
    assert not qdrant.collection_exists(name)
