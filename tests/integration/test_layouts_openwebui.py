"""What Open WebUI wrote into Chroma, it reads from Qdrant, in both of its forms there, and the other way.

The vector clients are Open WebUI's own, out of its wheel. Its configuration, and one function that takes NUL bytes out
of texts, are doubles: they would bring in the whole application.
"""

from __future__ import annotations

import hashlib
import importlib
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID, uuid4

import pytest
import yaml
from qdrant_client import QdrantClient

import vecferry
from tests.framework_data import SENTENCES, TEXTS, assert_same, canonical, carry, embed
from tests.framework_wheels import importable
from vecferry.cli import common
from vecferry.layouts.openwebui import shared_collection
from vecferry.planning.options import PlanOptions
from vecferry.testing.servers import QdrantServer

pytestmark = pytest.mark.qdrant

WHEEL = "open-webui==0.12.4"
CLIENTS = "open_webui.retrieval.vector.dbs"
HOW_TO = Path(__file__).parents[2] / "docs/how-to/open-webui.md"
QDRANT = {
    "QDRANT_API_KEY": None,
    "QDRANT_COLLECTION_PREFIX": "open-webui",
    "QDRANT_GRPC_PORT": 6334,
    "QDRANT_HNSW_M": 16,
    "QDRANT_ON_DISK": False,
    "QDRANT_PREFER_GRPC": False,
    "QDRANT_TIMEOUT": 30,
    "QDRANT_URI": None,
}
CHROMA = {
    "CHROMA_CLIENT_AUTH_CREDENTIALS": None,
    "CHROMA_CLIENT_AUTH_PROVIDER": None,
    "CHROMA_DATABASE": "default_database",
    "CHROMA_DATA_PATH": None,
    "CHROMA_HTTP_HEADERS": None,
    "CHROMA_HTTP_HOST": "",
    "CHROMA_HTTP_PORT": 8000,
    "CHROMA_HTTP_SSL": False,
    "CHROMA_TENANT": "default_tenant",
}
Told = list[tuple[str, str, Mapping[str, Any]]]


def _double(name: str, **values: object) -> ModuleType:
    module = ModuleType(name, "A double of the part of Open WebUI that its vector clients ask for.")
    vars(module).update(values)
    return module


@pytest.fixture(scope="module")
def clients() -> Iterator[Mapping[str, ModuleType]]:
    """The modules of Open WebUI's vector clients, by their name."""
    with importable(WHEEL, "open_webui/retrieval/vector") as folder:
        doubles = [
            _double("open_webui", __path__=[str(folder / "open_webui")]),
            _double("open_webui.config", **QDRANT, **CHROMA),
            _double("open_webui.env", USE_SLIM=False, RAG_METADATA_MAX_VALUE_CHARS=None),
            _double("open_webui.utils", __path__=[]),
            _double("open_webui.utils.misc", sanitize_text_for_db=lambda value: value),
            *([] if importlib.util.find_spec("fastapi") else [_double("fastapi", HTTPException=Exception)]),
        ]
        sys.modules.update({double.__name__: double for double in doubles})
        try:
            yield {
                name: importlib.import_module(f"{CLIENTS}.{name}")
                for name in ("chroma", "qdrant", "qdrant_multitenancy")
            }
        finally:
            for name in [name for name in sys.modules if name.partition(".")[0] in {"open_webui", "fastapi"}]:
                if name in {double.__name__ for double in doubles} or name.startswith("open_webui"):
                    del sys.modules[name]


@pytest.fixture
def client(qdrant_server: QdrantServer) -> Iterator[QdrantClient]:
    """The server without any collection of Open WebUI, whose names are fixed."""
    with closing(QdrantClient(url=qdrant_server.http_url, check_compatibility=False)) as opened:
        for collection in opened.get_collections().collections:
            if collection.name.startswith("open-webui"):
                opened.delete_collection(collection.name)
        yield opened


def in_chroma(clients: Mapping[str, ModuleType], folder: Path) -> Any:
    module = clients["chroma"]
    module.CHROMA_DATA_PATH = str(folder)  # type: ignore[attr-defined]
    return module.ChromaClient()


def in_qdrant(clients: Mapping[str, ModuleType], server: QdrantServer, form: str) -> Any:
    module = clients[form]
    module.QDRANT_URI = server.http_url  # type: ignore[attr-defined]
    return module.QdrantClient()


def items(name: str) -> list[dict[str, Any]]:
    """The texts of one file, as `save_docs_to_vector_db` hands them over."""
    return [
        {
            "id": str(uuid4()),
            "text": f"{name[:8]}: {text}",
            "vector": embed(f"{name[:8]}: {text}"),
            "metadata": {
                "name": f"{name}.txt",
                "file_id": name.removeprefix("file-"),
                "created_by": "ada",
                "hash": hashlib.sha256(name.encode()).hexdigest(),
                "start_index": number * 100,
                "embedding_config": {"engine": "", "model": "trigrams"},
            },
        }
        for number, text in enumerate(TEXTS[:6])
    ]


NAMES = (
    f"file-{UUID(int=1, version=4)}",
    f"file-{UUID(int=2, version=4)}",
    f"{UUID(int=3, version=4)}",
    f"user-memory-{UUID(int=4, version=4)}",
    hashlib.sha256(b"https://example.org").hexdigest()[:63],
)
"""Two files, a knowledge base, a person's memories, a web page."""


def told(found: Any) -> Told:
    assert found is not None
    return list(zip(found.ids[0], found.documents[0], found.metadatas[0], strict=True))


def everything(store: Any, name: str) -> Told:
    return sorted(told(store.get(name)), key=lambda one: one[0])


def hits(store: Any, name: str) -> list[Told]:
    return [told(store.search(name, [embed(text)], limit=3)) for text in SENTENCES]


def test_open_webui_reads_from_qdrant_what_it_wrote_into_chroma(
    tmp_path: Path, qdrant_server: QdrantServer, client: QdrantClient, clients: Mapping[str, ModuleType]
) -> None:
    """One collection for each name, under Open WebUI's prefix: everything, hits, filters, deletion; and home again."""
    before = in_chroma(clients, tmp_path / "a")
    before.insert(NAMES[0], items(NAMES[0]))
    first = canonical(f"chroma:{tmp_path / 'a'}", NAMES[0])
    plan = carry(f"chroma:{tmp_path / 'a'}", qdrant_server.url, tmp_path, layout="openwebui")
    assert plan.target.card is not None
    assert plan.target.card.layout == "openwebui"
    assert {"hash", "file_id"} <= {index.key for index in plan.target.indexes}

    after = in_qdrant(clients, qdrant_server, "qdrant")
    assert after.has_collection(NAMES[0])
    assert everything(after, NAMES[0]) == everything(before, NAMES[0])
    assert hits(after, NAMES[0]) == hits(before, NAMES[0])
    assert len(told(after.query(NAMES[0], {"start_index": 200}))) == 1

    target = f"chroma:{tmp_path / 'b'}"
    carry(qdrant_server.url, target, tmp_path, collections=(f"open-webui_{NAMES[0]}={NAMES[0]}",))
    assert_same(canonical(target, NAMES[0]), first)
    again = in_chroma(clients, shutil.copytree(tmp_path / "b", tmp_path / "c"))  # one client a folder and process
    assert everything(again, NAMES[0]) == everything(before, NAMES[0])
    gone = everything(after, NAMES[0])[0][0]
    after.delete(NAMES[0], ids=[gone])
    assert gone not in {one[0] for one in everything(after, NAMES[0])}


def recipe(folder: Path) -> Any:
    """The transform file that stands in the how-to."""
    block = HOW_TO.read_text().partition("```yaml\n")[2].partition("```")[0]
    assert yaml.safe_load(block)
    file = folder / "apart.yaml"
    file.write_text(block)
    return common.recipe(file)


def move(source: str, target: str, folder: Path, **options: Any) -> vecferry.Migration:
    settings = vecferry.Settings(plan=PlanOptions(**options), ledger=str(folder / "ledger.db"), reports=None)
    done = vecferry.migrate(source, target, settings=settings)
    assert done.differences == 0, done.verification
    return done


def test_open_webui_reads_from_its_shared_collections(
    tmp_path: Path, qdrant_server: QdrantServer, client: QdrantClient, clients: Mapping[str, ModuleType]
) -> None:
    """By the how-to: every name becomes a tenant of the collection where Open WebUI looks for it, and comes back."""
    before = in_chroma(clients, tmp_path / "a")
    for name in NAMES:
        before.insert(name, items(name))
    firsts = {name: canonical(f"chroma:{tmp_path / 'a'}", name) for name in NAMES}
    done = move(f"chroma:{tmp_path / 'a'}", qdrant_server.url, tmp_path, layout="openwebui-shared")
    assert {plan.target.name for plan in done.plan.collections} == {shared_collection(name) for name in NAMES}
    assert {plan.target.card.layout for plan in done.plan.collections if plan.target.card} == {"openwebui-shared"}

    after = in_qdrant(clients, qdrant_server, "qdrant_multitenancy")
    for name in NAMES:
        assert after.has_collection(name)
        assert everything(after, name) == everything(before, name)
        assert hits(after, name) == hits(before, name)
    assert after._get_collection_and_tenant_id(NAMES[4])[0] == shared_collection(NAMES[4])
    schema = client.get_collection("open-webui_files").payload_schema
    assert schema["tenant_id"].params.is_tenant  # type: ignore[union-attr]

    target = f"chroma:{tmp_path / 'b'}"
    move(qdrant_server.url, target, tmp_path, transforms=recipe(tmp_path), collections=("open-webui_*",))
    again = in_chroma(clients, shutil.copytree(tmp_path / "b", tmp_path / "c"))
    for name in NAMES:
        assert everything(again, name) == everything(before, name)
        assert_same(canonical(target, name), firsts[name])
    after.delete_collection(NAMES[0])
    assert not after.has_collection(NAMES[0])
    assert everything(after, NAMES[1]) == everything(before, NAMES[1])


@pytest.mark.parametrize("form", ["qdrant", "qdrant_multitenancy"])
def test_open_webuis_own_payloads_come_home(
    tmp_path: Path,
    qdrant_server: QdrantServer,
    client: QdrantClient,
    clients: Mapping[str, ModuleType],
    form: str,
) -> None:
    """Written by Open WebUI into Qdrant, through Chroma, and back: the same payloads at the same points."""
    before = in_qdrant(clients, qdrant_server, form)
    for name in NAMES[:2]:
        before.insert(name, items(name))
    name = "open-webui_files" if form == "qdrant_multitenancy" else f"open-webui_{NAMES[0]}"
    points = {point.id: point.payload for point in client.scroll(name, limit=100)[0]}
    plan = carry(qdrant_server.url, f"chroma:{tmp_path / 'a'}", tmp_path, collections=(name,))
    assert plan.target.card is not None
    assert plan.target.card.layout == {"qdrant": "openwebui"}.get(form, "openwebui-shared")
    carry(f"chroma:{tmp_path / 'a'}", qdrant_server.url, tmp_path, collections=(f"{name}={name}-home",))
    home = {point.id: point.payload or {} for point in client.scroll(f"{name}-home", limit=100)[0]}
    assert {key: {k: v for k, v in one.items() if k != "_vf"} for key, one in home.items()} == points
