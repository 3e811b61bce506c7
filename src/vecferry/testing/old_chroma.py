"""Chroma servers of earlier versions, each the real chromadb of its time in a virtual environment of its own.

    with start_old_chroma("0.5.23", token="secret") as server:         # Authorization: Bearer
    with start_old_chroma("0.6.3", token="secret", header="X-Chroma-Token") as server:

Versions up to 0.6 have a token check of their own; 1.x ignores its settings and is open (see `caddy` for those). uv
installs them once into the user's cache; they need a Python that the wheels of their time exist for.
"""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from vecferry.errors import Unavailable
from vecferry.testing.cache import locked
from vecferry.testing.servers import ChromaServer, start_chroma

PYTHONS = ("3.11", "3.12")
_OLD = (
    "numpy<2",
    "pydantic<2.12",
    "posthog<4",
    "opentelemetry-api<1.30",
    "opentelemetry-sdk<1.30",
    "fastapi<0.116",
    "starlette<0.46",
)
NEEDS: Mapping[str, tuple[str, ...]] = {
    "0.4.24": ("chromadb==0.4.24", *_OLD),
    "0.5.23": ("chromadb==0.5.23", *_OLD),
    "0.6.3": ("chromadb==0.6.3", *_OLD),
    "1.5.9": ("chromadb==1.5.9",),
}
"""version -> what is installed with it: what it was written for, not what came out later"""


def python_of(version: str) -> Path:
    """The interpreter of an environment that has chromadb `version`; installed on first use (a minute).

    Raises:
        Unavailable: uv or a fitting Python is missing, or the packages cannot be fetched.
    """
    folder = Path(platformdirs.user_cache_dir("vecferry")) / "chroma" / version
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.parent / f"{version}.lock"):
        if not (folder / "complete").exists():
            _install(folder, version)
            (folder / "complete").touch()
    return folder / "bin" / "python"


@contextmanager
def start_old_chroma(
    version: str, *, token: str | None = None, header: str = "Authorization", folder: Path | None = None
) -> Iterator[ChromaServer]:
    """Run the server of chromadb `version`; with `token`, it wants it in `header`, and `api_key` holds it.

    Raises:
        Unavailable: that version cannot be installed, or its server does not start.
    """
    program = python_of(version).with_name("chroma")
    ready = f"/api/{'v1' if version.startswith('0.') else 'v2'}/heartbeat"
    settings = _token_settings(token, header)
    with start_chroma(folder=folder, program=program, settings=settings, ready_path=ready) as server:
        server.api_key = token
        yield server


def _token_settings(token: str | None, header: str) -> dict[str, str]:
    """Chroma's settings for a token, 0.5 and 0.6: one header form at a time."""
    if token is None:
        return {}
    return {
        "CHROMA_SERVER_AUTHN_PROVIDER": "chromadb.auth.token_authn.TokenAuthenticationServerProvider",
        "CHROMA_SERVER_AUTHN_CREDENTIALS": token,
        "CHROMA_AUTH_TOKEN_TRANSPORT_HEADER": header,
    }


def _install(folder: Path, version: str) -> None:
    for python in PYTHONS:
        made = _uv("venv", "--quiet", "--no-python-downloads", "--clear", "--python", python, str(folder))
        if made.returncode == 0:
            break
    else:
        raise Unavailable(
            f"There is no Python {' or '.join(PYTHONS)} here, which chromadb {version} needs: {made.stderr.strip()}",
            hint="Install one; uv finds those on the PATH.",
        )
    done = _uv("pip", "install", "--quiet", "--only-binary=:all:", f"--python={folder}/bin/python", *NEEDS[version])
    if done.returncode:
        shutil.rmtree(folder)
        raise Unavailable(
            f"chromadb {version} cannot be installed: {done.stderr.strip()[-500:]}",
            hint="Run again once the package index can be reached.",
        )


def _uv(*arguments: str) -> subprocess.CompletedProcess[str]:
    beside = Path(sysconfig.get_path("scripts")) / "uv"
    program = str(beside) if beside.exists() else "uv"
    try:
        return subprocess.run([program, *arguments], check=False, capture_output=True, text=True)
    except OSError as error:
        raise Unavailable("uv is not installed.", hint="pip install uv") from error
