"""Compiles what is written in C (docs/adr/0030): hatchling calls this while it builds, `./dev` while it sets up.

In place for an editable installation, wherever a C compiler is at hand; into a wheel where the wheel is compiled
(`HATCH_BUILD_HOOK_ENABLE_MYPYC=1`). Without it vecferry does the same in Python, only slower.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
SOURCES = ROOT / "src/vecferry/connectors/qdrant/_codec/_native"
BUILT = SOURCES.with_name(f"_native{sysconfig.get_config_var('EXT_SUFFIX')}")


class CustomBuildHook(BuildHookInterface):
    """Adds the compiled module to a compiled wheel, or puts it beside its source."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the files are collected."""
        compiled = os.environ.get("HATCH_BUILD_HOOK_ENABLE_MYPYC") in ("1", "true")
        if (version == "editable" or compiled) and build() and compiled:
            build_data["force_include"][str(BUILT)] = str(BUILT.relative_to(ROOT / "src"))


def build() -> bool:
    """Compile the module beside its source, unless it is newer than that already. False where it cannot be done."""
    sources = sorted(SOURCES.glob("*.[ch]"))
    if BUILT.exists() and BUILT.stat().st_mtime > max(path.stat().st_mtime for path in sources):
        return True
    linker = shlex.split(sysconfig.get_config_var("LDSHARED") or "")
    if not linker or not shutil.which(linker[0]):
        say("There is no C compiler here: vecferry runs without its compiled part, and does the same, only slower.")
        return False
    flags = [
        "-O3",
        "-ffp-contract=off",
        *shlex.split(sysconfig.get_config_var("CCSHARED") or ""),
        f"-I{sysconfig.get_paths()['include']}",
    ]
    unfinished = BUILT.with_suffix(f".{os.getpid()}")
    made = subprocess.run(
        [*linker, *flags, *(str(path) for path in sources if path.suffix == ".c"), "-o", str(unfinished)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        say(f"The C compiler failed; vecferry runs without its compiled part.\n{made.stderr}")
        return False
    unfinished.replace(BUILT)
    return True


def say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    build()
