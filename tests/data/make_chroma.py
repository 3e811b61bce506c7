"""Makes the Chroma directories that the reader is tested with, each by the real chromadb of its version.

    python tests/data/make_chroma.py OUT [NAME…]     writes OUT/NAME.tar.xz; the committed ones: tests/data/chroma

Needs uv and a Python that the old wheels exist for (3.11, 3.12). Each archive holds `data/`, the directory as the
application left it, and `truth.json`, what that chromadb's own get() returns (chroma_stories.py says how).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

STORIES = Path(__file__).with_name("chroma_stories.py")
PYTHONS = ("3.11", "3.12")
# Old versions write unused, uninitialised memory into data_level0.bin. glibc hands out zeros with this setting, so that
# neither the environment nor anything else of the machine that made them gets into the archives.
CLEAN = {"MALLOC_PERTURB_": "255", "HOME": "/nonexistent", "ANONYMIZED_TELEMETRY": "False"}
_OLD = ("numpy<2", "pydantic<2.12", "posthog<4", "opentelemetry-api<1.30", "opentelemetry-sdk<1.30")
NEEDS = {
    "0.4.24": ("chromadb==0.4.24", *_OLD),
    "0.5.23": ("chromadb==0.5.23", *_OLD),
    "0.6.3": ("chromadb==0.6.3", *_OLD),
    "1.5.9": ("chromadb==1.5.9",),
}
# name of the archive -> the versions that wrote it, one after the other
DIRECTORIES = {
    "0.4.24": ("0.4.24",),
    "0.5.23": ("0.5.23",),
    "0.6.3": ("0.6.3",),
    "1.5.9": ("1.5.9",),
    "0.4.24-to-1.5.9": ("0.4.24", "1.5.9"),
    "0.5.23-to-1.5.9": ("0.5.23", "1.5.9"),
}


class NoWheels(RuntimeError):
    """A version cannot be installed on this machine: no fitting Python, or the index cannot be reached."""


class Environments:
    """One virtual environment per chromadb version, made on first use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def python(self, version: str) -> Path:
        """The interpreter that has chromadb `version`.

        Raises:
            NoWheels: it cannot be installed.
        """
        room = self.folder / version
        python = room / "bin" / "python"
        if not python.exists():
            self._make(room, version)
        return python

    def _make(self, room: Path, version: str) -> None:
        for python in PYTHONS:
            made = _uv("venv", "--quiet", "--no-python-downloads", "--clear", "--python", python, str(room))
            if made.returncode == 0:
                break
        else:
            raise NoWheels(f"no Python {' or '.join(PYTHONS)} here, which chromadb {version} needs: {made.stderr}")
        done = _uv("pip", "install", "--quiet", "--only-binary=:all:", f"--python={room}/bin/python", *NEEDS[version])
        if done.returncode:
            shutil.rmtree(room)
            raise NoWheels(f"chromadb {version} cannot be installed: {done.stderr.strip()[-500:]}")


def make(name: str, out: Path, environments: Environments) -> Path:
    """Write the directory `name` with the versions that it is named after, and pack it with its truth."""
    with tempfile.TemporaryDirectory() as room:
        data, truth = Path(room, "data"), Path(room, "truth.json")
        writers = [environments.python(version) for version in DIRECTORIES[name]]
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


def _uv(*arguments: str) -> subprocess.CompletedProcess[str]:
    beside = Path(sysconfig.get_path("scripts")) / "uv"
    program = str(beside) if beside.exists() else "uv"
    return subprocess.run([program, *arguments], check=False, capture_output=True, text=True)


def make_all(out: Path, names: Sequence[str]) -> Iterator[Path]:
    """Make the directories `names` and yield their archives."""
    with tempfile.TemporaryDirectory() as room:
        environments = Environments(Path(room))
        for name in names:
            yield make(name, out, environments)


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
    except NoWheels as error:
        print(error, file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
