"""Promises that the project makes about itself: locks, extras, contents of the repository."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import vecferry
from vecferry import doctor
from vecferry.registry import REGISTRY

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


def tracked():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_locks_record_no_addresses(lock):
    """A lock works with whatever index the reader's machine is set to."""
    text = lock.read_text()
    assert not re.search(r"://|--(extra-)?index-url|--find-links| @ ", text)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_locks_pin_every_package_by_hash(lock):
    """Each requirement is one exact version with hashes."""
    entries = [entry for entry in re.split(r"\n(?=\w)", lock.read_text()) if not entry.startswith("#")]
    assert entries
    for entry in entries:
        assert re.match(r"[A-Za-z0-9._-]+==\S+", entry), entry[:60]
        assert "--hash=sha256:" in entry, entry[:60]


def test_the_locks_agree():
    """The demo and the tests run on the same versions."""
    run, dev = (dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements" / name).read_text(), re.MULTILINE))
                for name in ("run.txt", "dev.txt"))  # fmt: skip
    assert {name: dev.get(name) for name in run} == run


def test_reading_chroma_and_writing_qdrant_needs_no_chromadb():
    """The light install stays light: `vecferry[chroma,qdrant]` pulls no chromadb."""
    extras = PROJECT["project"]["optional-dependencies"]
    light = PROJECT["project"]["dependencies"] + extras["chroma"] + extras["qdrant"]
    assert not [need for need in light if need.startswith(("chromadb", "qdrant-client", "onnx", "torch"))]


def test_doctor_knows_the_extras():
    """It reads them from the installed package, which says what pyproject.toml says.

    What only some versions of Python get is left out: where it is missing, nothing is broken.
    """
    wanted = {
        extra: [re.match(r"[\w.-]+", need)[0] for need in needs if ";" not in need]
        for extra, needs in PROJECT["project"]["optional-dependencies"].items()
        if extra not in {"all", "testing"}
    }
    assert doctor.extras() == wanted
    assert {entry.extra for entry in REGISTRY.values() if entry.extra} <= wanted.keys()


def test_importing_vecferry_imports_no_client():
    """`import vecferry` and its registry stay light."""
    code = "import sys, vecferry, vecferry.registry; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    heavy = {
        "apsw",
        "chromadb",
        "grpc",
        "httpx",
        "qdrant_client",
        "qdrant_edge",
        "pyarrow",
        "numpy",
        "sqlalchemy",
        "rich",
    }
    assert not heavy & set(loaded)


def test_chroma_without_its_extra_names_the_command():
    """APSW reads snapshots; who has not installed it is told what to install."""
    code = (
        "import sys; sys.modules['apsw'] = None; from vecferry.registry import open_database; open_database('chroma:x')"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "ConfigError: chroma: URLs need the extra 'chroma'" in done.stderr
    assert 'pip install "vecferry[chroma]"' in done.stderr


@pytest.mark.parametrize("page", ["README.md", "docs/how-to/chroma-to-qdrant.md", "docs/how-to/embedded-qdrant.md"])
def test_what_a_page_installs_suffices_for_its_first_command(page):
    """`pip install "vecferry[…]"` brings an extra for each store that the next command names."""
    install, command = re.search(
        r'"vecferry\[(.*?)\]"(?:(?!vecferry migrate).)*vecferry migrate ([^#\n]*)', (ROOT / page).read_text(), re.DOTALL
    ).groups()
    extras = {extra.strip() for extra in install.split(",")}
    for scheme, rest in re.findall(r"\b(chroma|qdrant)(:|\+http)", command):
        wanted = "qdrant-local" if (scheme, rest) == ("qdrant", ":") else scheme
        assert wanted in extras, f"{page}: {command.strip()} needs {wanted}"


def test_every_public_name_exists():
    """What `vecferry.__all__` names can be had, and dir() shows it."""
    assert sorted(vecferry.__all__) == dir(vecferry)
    assert all(getattr(vecferry, name) is not None for name in vecferry.__all__)


def test_a_client_is_named_by_connectors_only():
    """No file per pair of stores, and no other layer that knows a store: names of modules say it."""
    stores = ("chroma", "qdrant", "postgres", "mariadb")
    pairs = [path.name for path in (ROOT / "src").rglob("*.py") if sum(store in path.stem for store in stores) > 1]
    assert not pairs


@pytest.mark.parametrize(
    "contract,free",
    [
        ("Nothing but the tests imports vecferry.testing", {"testing"}),
        ("Only connectors know a store's client", {"testing", "connectors"}),
    ],
)
def test_an_import_contract_names_every_module(contract, free):
    """The linter checks only what is listed: a new module must be."""
    folder = ROOT / "src" / "vecferry"
    modules = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    contracts = {one["name"]: one for one in PROJECT["tool"]["importlinter"]["contracts"]}
    listed = {name.removeprefix("vecferry.") for name in contracts[contract]["source_modules"]}
    assert listed == modules - free - {"__init__", "__main__"}


def test_the_readme_names_the_commands_that_ci_runs():
    """The first two sh blocks of the README set up everything; CI calls the second one itself."""
    readme = (ROOT / "README.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    commands = [line for line in blocks[1].splitlines() if line.startswith("./")]
    assert blocks[0].strip().endswith("./dev demo")
    assert commands == ["./dev test"]
    assert re.search(r"^\./dev test\b", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)


def test_nothing_in_the_repository_names_a_machine_or_an_index():
    """Neither home folders of those who wrote it nor the address of a package registry."""
    forbidden = re.compile(r"(?<![\w.])/(?:root|work|home/\w+)/|registry\.npmjs|pypi\.org|pythonhosted|crates\.io")
    here = Path(__file__).resolve()
    found = []
    for path in tracked():
        if path.suffix in {".xz", ".png", ".parquet", ".npz", ".svg", ".gif", ".webp"} or path == here:
            continue
        found += [f"{path.relative_to(ROOT)}: {hit}" for hit in forbidden.findall(path.read_text(errors="replace"))]
    assert not found
