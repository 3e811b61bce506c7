"""Compiles what is written in C (docs/adr/0030): hatchling calls this while it builds, `./dev` while it sets up.

In place for an editable installation, wherever a C compiler is at hand; into a wheel where the wheel is compiled
(`HATCH_BUILD_HOOK_ENABLE_MYPYC=1`). Without it vecferry does the same in Python, only slower.
"""

import hashlib
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
        for_wheel = os.environ.get("HATCH_BUILD_HOOK_ENABLE_MYPYC") in ("1", "true")
        if (version == "editable" or for_wheel) and build() and for_wheel:
            build_data["force_include"][str(BUILT)] = str(BUILT.relative_to(ROOT / "src"))


def build() -> bool:
    """Have the module beside its source, made of that very source. False where it cannot be made."""
    made_of = digest()
    if BUILT.exists() and made_of.encode() in BUILT.read_bytes():
        return True
    unfinished = BUILT.with_suffix(f".{os.getpid()}")
    if compiled(unfinished, made_of):
        unfinished.replace(BUILT)
        return True
    BUILT.unlink(missing_ok=True)  # one of another source: it would be used, and do something else than the Python
    return False


def digest() -> str:
    """What identifies the source, and this file, which says how it is compiled."""
    found = hashlib.sha256()
    for path in (Path(__file__), *sources()):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()[:16]


def sources() -> list[Path]:
    return sorted(SOURCES.glob("*.[ch]"))


def linker() -> list[str]:
    """The command that makes a module for this Python; empty where a compiler or Python's headers are missing."""
    command = shlex.split(sysconfig.get_config_var("LDSHARED") or "")
    headers = Path(sysconfig.get_paths()["include"], "Python.h")
    able = sys.byteorder == "little" and command and shutil.which(command[0]) and headers.exists()
    return command if able else []


def compiled(out: Path, made_of: str) -> bool:
    command = linker()
    if not command:
        say("No C compiler, or no headers of Python: vecferry runs without its compiled part, the same but slower.")
        return False
    command += ["-O3", "-ffp-contract=off", *shlex.split(sysconfig.get_config_var("CCSHARED") or "")]
    command += [f"-I{sysconfig.get_paths()['include']}", f'-DMADE_OF="{made_of}"']
    command += [*(str(path) for path in sources() if path.suffix == ".c"), "-o", str(out)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        say(f"The C compiler failed; vecferry runs without its compiled part.\n{made.stderr}")
    return made.returncode == 0


def say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    build()
