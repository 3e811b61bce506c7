"""`vecferry doctor` on stores that are well, down, mistaken for others, or locked: the cause and the fix, each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import Done, Vecferry, everything_in
from tests.e2e.stores import occupied
from vecferry.testing.ports import free_ports

pytestmark = pytest.mark.qdrant


def failures(done: Done) -> list[dict[str, Any]]:
    return [step for one in done.json["examinations"] for step in one["steps"] if step["state"] == "failed"]


def test_a_sound_target_does_all_that_a_migration_needs(
    small: Path, start_qdrant: Any, clients: Any, vecferry: Vecferry
) -> None:
    """Every step ok and timed; what was there is untouched, and nothing is left behind."""
    server = start_qdrant()
    client = clients(server)
    occupied(client, "theirs")
    before = everything_in(small)
    done = vecferry("doctor", server.url, f"chroma:{small}", "--json")
    assert everything_in(small) == before
    assert done.json["healthy"]
    written = vecferry("doctor", server.url, "--write", "--json").json
    assert failures(Done(0, vecferry("doctor", "--json").out, "")) == []
    steps = {step["name"]: step for step in written["examinations"][1]["steps"]}
    needed = {"create", "upsert", "index", "search", "filter", "delete", "quota"}
    assert needed <= steps.keys()
    assert {steps[name]["state"] for name in needed} == {"ok"}, steps
    assert all(steps[name]["milliseconds"] > 0 for name in needed)
    assert [one.name for one in client.get_collections().collections] == ["theirs"]
    assert client.count("theirs").count == 3


def test_a_target_that_cannot_be_reached(qdrant_server: Any, vecferry: Vecferry) -> None:
    """Nobody listens; REST's port given for gRPC's; gRPC's for REST's; TLS where there is none."""
    (nobody,) = free_ports(1)
    http, grpc = qdrant_server.http_port, qdrant_server.grpc_port
    urls = {
        "down": f"qdrant+http://127.0.0.1:{nobody}",
        "swapped": f"qdrant+http://127.0.0.1:{grpc}?grpc_port={http}",
        "tls": f"qdrant+https://127.0.0.1:{http}",
    }
    done = vecferry("doctor", *urls.values(), "--json", expect=5)
    ill = dict(zip(urls, done.json["examinations"][1:], strict=True))
    for case, one in ill.items():
        (step,) = [step for step in one["steps"] if step["state"] == "failed"]
        assert step["hint"], (case, step)
        assert "127.0.0.1" in step["detail"] or str(nobody) in step["detail"], (case, step)
    text = {case: str(one["steps"]) for case, one in ill.items()}
    assert str(nobody) in text["down"]
    assert "gRPC" in text["swapped"]
    assert "http" in text["tls"]


def test_keys(qdrant_with_key: Any, qdrant_server: Any, vecferry: Vecferry) -> None:
    """No key, a wrong one, the right one, and one that an open server does not ask for."""
    url = qdrant_with_key.url
    missing = vecferry("doctor", url, "--json", expect=5)
    assert "QDRANT_API_KEY" in str(failures(missing))
    wrong = vecferry("doctor", url, "--json", expect=5, env={"QDRANT_API_KEY": "not-the-key"})
    assert failures(wrong)[0]["hint"]
    assert "not-the-key" not in wrong.text
    right = vecferry("doctor", url, "--json", env={"QDRANT_API_KEY": qdrant_with_key.api_key})
    assert "the key is asked for and accepted" in right.text
    needless = vecferry("doctor", qdrant_server.url, env={"QDRANT_API_KEY": "some-key"})
    assert "warning" in needless.out
    assert "without it" in needless.text


def test_a_key_that_may_only_read(start_qdrant: Any, vecferry: Vecferry) -> None:
    """Reading passes; --write names the step that is not allowed, although the clean-up is not allowed either."""
    server = start_qdrant(api_key="writer", settings={"QDRANT__SERVICE__READ_ONLY_API_KEY": "reader"})
    env = {"QDRANT_API_KEY": "reader"}
    assert vecferry("doctor", server.url, "--json", env=env).json["healthy"]
    done = vecferry("doctor", server.url, "--write", "--json", env=env, expect=5)
    (step,) = failures(done)
    assert (step["name"], bool(step["hint"])) == ("write", True)


def test_a_chroma_directory_that_is_not_there(vecferry: Vecferry) -> None:
    """Said, with what it means for a source and for a target, and not made."""
    done = vecferry("doctor", "chroma:absent")
    assert "warning" in done.out
    assert "check the path" in done.text
    assert not (vecferry.folder / "absent").exists()
