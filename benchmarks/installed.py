"""Benchmarks measure what people install, which is the compiled wheel (docs/adr/0020)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from vecferry.connectors.qdrant._codec import values

COMPILED = not str(values.__file__).endswith(".py")


def as_installed() -> None:
    """Go on in the compiled wheel of this source, unless `--source` is said: then the source is measured as it is."""
    if "--source" in sys.argv:
        sys.argv.remove("--source")
    elif not COMPILED:
        dev = Path(__file__).resolve().parents[1] / "dev"
        script = str(Path(sys.argv[0]).resolve())
        os.execv(sys.executable, [sys.executable, str(dev), "compiled", script, *sys.argv[1:]])
