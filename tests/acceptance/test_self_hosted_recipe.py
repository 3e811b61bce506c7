"""The recipe for a self-hosted Chroma: its very Caddyfile, run by a real Caddy before a real Chroma server.

Docker Compose itself needs an engine that test machines do not have: compose.yaml is read here, and not run.
"""

from __future__ import annotations

import re
import secrets
import ssl
from collections.abc import Iterator
from pathlib import Path

import chromadb
import httpx
import pytest
import yaml

from vecferry.errors import Unavailable
from vecferry.testing import skips
from vecferry.testing.caddy import CADDY, CaddyServer, start_caddyfile
from vecferry.testing.servers import ChromaServer

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "examples" / "self_hosted_chroma"
PAGE = ROOT / "docs" / "how-to" / "self-hosted-chroma.md"
TOKEN = secrets.token_hex(32)
VERSION = "/api/v2/version"


@pytest.fixture(scope="module")
def compose() -> dict[str, dict[str, dict[str, object]]]:
    loaded: dict[str, dict[str, dict[str, object]]] = yaml.safe_load((RECIPE / "compose.yaml").read_text())
    return loaded


def run(settings: dict[str, str]) -> Iterator[CaddyServer]:
    try:
        CADDY.path()
    except Unavailable as error:
        skips.skip("caddy", error.message)
    with start_caddyfile(RECIPE / "Caddyfile", settings=settings, site="CHROMA_SITE") as caddy:
        yield caddy


@pytest.fixture(scope="module")
def caddy(chroma_server: ChromaServer) -> Iterator[CaddyServer]:
    """The recipe's Caddy, with the settings that compose.yaml passes."""
    yield from run({"CHROMA_TLS": "internal", "CHROMA_TOKEN": TOKEN, "CHROMA_UPSTREAM": chroma_server.http_url})


@pytest.fixture(scope="module")
def client(caddy: CaddyServer) -> Iterator[httpx.Client]:
    """Trusts Caddy's own authority and nobody else."""
    context = ssl.create_default_context(cafile=caddy.ca_file)
    with httpx.Client(base_url=caddy.http_url, verify=context, trust_env=False) as client:
        yield client


@pytest.mark.parametrize("form", [{"authorization": f"Bearer {TOKEN}"}, {"x-chroma-token": TOKEN}])
def test_the_token_opens(client: httpx.Client, form: dict[str, str]) -> None:
    """In both forms that Chroma's clients send."""
    assert client.get(VERSION, headers=form).status_code == 200


@pytest.mark.parametrize(
    "form", [{}, {"authorization": TOKEN}, {"x-chroma-token": ""}, {"x-chroma-token": TOKEN + "0"}]
)
def test_nothing_else_opens(client: httpx.Client, form: dict[str, str]) -> None:
    """Not even the heartbeat answers."""
    for path in (VERSION, "/api/v2/heartbeat"):
        answer = client.get(path, headers=form)
        assert (answer.status_code, answer.json()["error"]) == (401, "Unauthorized")


def test_nobody_resets_it(client: httpx.Client) -> None:
    """`reset` deletes everything; no holder of the token may."""
    assert client.post("/api/v2/reset", headers={"x-chroma-token": TOKEN}).status_code == 403


def test_the_vendors_client_comes_through(caddy: CaddyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the page tells an application to do."""
    monkeypatch.setenv("SSL_CERT_FILE", str(caddy.ca_file))
    address = httpx.URL(caddy.http_url)
    assert address.port
    chroma = chromadb.HttpClient(
        host=address.host, port=address.port, ssl=True, headers={"Authorization": f"Bearer {TOKEN}"}
    )
    collection = chroma.create_collection("recipe", embedding_function=None)
    collection.add(ids=["a"], embeddings=[[1.0, 2.0]], documents=["kept"])
    assert collection.get()["documents"] == ["kept"]
    chroma.delete_collection("recipe")


@pytest.mark.parametrize("token", ["", "short"])
def test_a_lost_or_short_token_closes_the_door(chroma_server: ChromaServer, token: str) -> None:
    """A setting that got lost must not leave an empty token that opens to everybody."""
    for caddy in run({"CHROMA_TLS": "internal", "CHROMA_TOKEN": token, "CHROMA_UPSTREAM": chroma_server.http_url}):
        context = ssl.create_default_context(cafile=caddy.ca_file)
        for form in ({}, {"x-chroma-token": token}, {"authorization": f"Bearer {token}".strip()}):
            answer = httpx.get(caddy.http_url + VERSION, headers=form, verify=context, trust_env=False)
            assert answer.status_code == 401


def test_chroma_is_reached_through_caddy_only(compose: dict[str, dict[str, dict[str, object]]]) -> None:
    """Chroma 1.x is open to whoever reaches it: it publishes no port, and its data stand on a volume."""
    chroma, caddy = compose["services"]["chroma"], compose["services"]["caddy"]
    assert "ports" not in chroma
    assert chroma["volumes"] == ["chroma-data:/data"]
    assert caddy["ports"] == ["443:443"]
    assert set(compose["volumes"]) == {"chroma-data", "caddy-data"}


def test_settings_are_passed_and_wanted(compose: dict[str, dict[str, dict[str, object]]]) -> None:
    """Every setting of the Caddyfile is passed by compose, and one without a default must stand in .env."""
    used = set(re.findall(r"\{\$(\w+)", (RECIPE / "Caddyfile").read_text()))
    passed = compose["services"]["caddy"]["environment"]
    assert isinstance(passed, dict)
    assert used == set(passed)
    wanted = {name for name, value in passed.items() if ":?" in value}
    assert wanted == {
        line.partition("=")[0] for line in (RECIPE / "env.example").read_text().splitlines() if "=" in line
    }


@pytest.mark.parametrize("name", ["Caddyfile", "compose.yaml", "env.example"])
def test_the_page_shows_what_is_tested(name: str) -> None:
    """The files in the page are those of the recipe, word for word."""
    assert (RECIPE / name).read_text().strip() in PAGE.read_text()
