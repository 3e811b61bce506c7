"""Makes the Chroma directories that the reader is tested with, each by the real chromadb of its version.

    python tests/data/make_chroma.py OUT [NAME…]     writes OUT/NAME.tar.xz; the committed ones: tests/data/chroma

Needs uv and a Python that the old wheels exist for (3.11, 3.12). Each archive holds `data/`, the directory as the
application left it, and `truth.json`, what that chromadb's own get() returns (chroma_stories.py says how).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from vecferry.errors import Unavailable
from vecferry.testing.old_chroma import python_of

STORIES = Path(__file__).with_name("chroma_stories.py")
# Old versions write unused, uninitialised memory into data_level0.bin. glibc hands out zeros with this setting, so that
# neither the environment nor anything else of the machine that made them gets into the archives.
CLEAN = {"MALLOC_PERTURB_": "255", "HOME": "/nonexistent", "ANONYMIZED_TELEMETRY": "False"}
# name of the archive -> the versions that wrote it, one after the other
DIRECTORIES = {
    "0.4.24": ("0.4.24",),
    "0.5.23": ("0.5.23",),
    "0.6.3": ("0.6.3",),
    "1.5.9": ("1.5.9",),
    "0.4.24-to-1.5.9": ("0.4.24", "1.5.9"),
    "0.5.23-to-1.5.9": ("0.5.23", "1.5.9"),
}


def make(name: str, out: Path) -> Path:
    """Write the directory `name` with the versions that it is named after, and pack it with its truth."""
    with tempfile.TemporaryDirectory() as room:
        data, truth = Path(room, "data"), Path(room, "truth.json")
        writers = [python_of(version) for version in DIRECTORIES[name]]
        for number, python in enumerate(writers):
            _run(python, "write", data, *(["upgrade"] if number else []))
        _run(writers[-1], "truth", data, truth)
        return _pack(out / f"{name}.tar.xz", data, truth)


def _run(python: Path, *arguments: str | Path) -> None:
    subprocess.run([python, STORIES, *arguments], check=True, stderr=subprocess.PIPE, env=CLEAN)


def _pack(target: Path, *paths: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, "w:xz", preset=9) as tar:
        for path in paths:
            tar.add(path, path.name, filter=_anonymous)
    return target


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def make_all(out: Path, names: Sequence[str]) -> Iterator[Path]:
    """Make the directories `names` and yield their archives."""
    for name in names:
        yield make(name, out)


def main() -> int:
    """Make what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default all: {' '.join(DIRECTORIES)}")
    asked = parser.parse_args()
    if unknown := set(asked.names) - DIRECTORIES.keys():
        parser.error(f"unknown: {' '.join(sorted(unknown))}")
    try:
        for archive in make_all(asked.out, asked.names or list(DIRECTORIES)):
            print(f"{archive}  {archive.stat().st_size:,} bytes", flush=True)
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
