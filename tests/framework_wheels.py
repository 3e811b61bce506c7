"""Frameworks that cannot be installed beside the others: their wheels, unpacked into the user's cache, without what
they ask for.

mem0 wants an older protobuf than Qdrant's client, and Open WebUI some hundred packages for a web application. The
modules that speak to a vector store need neither.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from vecferry.testing.cache import locked
from vecferry.testing.skips import skip


@contextmanager
def importable(requirement: str, *parts: str) -> Iterator[Path]:
    """The folder of an unpacked wheel, on `sys.path`; only `parts` of it (paths inside of it) are kept."""
    folder = _unpacked(requirement, parts)
    sys.path.append(str(folder))
    try:
        yield folder
    finally:
        sys.path.remove(str(folder))


def _unpacked(requirement: str, parts: Sequence[str]) -> Path:
    folder = Path(platformdirs.user_cache_dir("vecferry")) / "frameworks" / requirement
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.parent / f"{requirement}.lock"):
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=folder.parent) as room:
                _install(requirement, Path(room, "all"))
                for part in parts:
                    kept = Path(room, "kept", part)
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    Path(room, "all", part).rename(kept)
                shutil.move(Path(room, "kept"), folder)
    return folder


def _install(requirement: str, folder: Path) -> None:
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--python-version=3.11", "--only-binary=:all:"]
    try:
        done = subprocess.run(
            [*command, "--target", folder, requirement], check=False, capture_output=True, text=True, timeout=300
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        skip("framework", f"{requirement}: {error}")
    if done.returncode:
        skip("framework", f"{requirement}: {done.stderr.strip()[-300:]}")
