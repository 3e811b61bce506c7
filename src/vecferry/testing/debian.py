"""PostgreSQL with pgvector, PgBouncer and MariaDB as Debian packages them, unpacked into a cache, once per machine.

    debian.program("usr/sbin/mariadbd")      # a script that runs it, on any Linux with apt

Nothing is installed: apt resolves and checks (signatures of Debian's archive) against a state of its own, dpkg-deb
unpacks, and the programs run through the tree's own loader and libraries. So neither root nor a chroot is needed, and
it does not matter which release the machine itself has. The mirror is the machine's own: the one of its apt sources,
or `VECFERRY_TEST_DEBIAN_MIRROR=URL` where the machine is not a Debian.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import platformdirs

from vecferry.errors import Unavailable
from vecferry.testing.cache import locked

SUITE = "trixie"
EDITION = "2"
"""raised when the list below changes: trees of another edition are left alone"""
PACKAGES = ("postgresql-17-pgvector", "mariadb-server-core", "pgbouncer")
PROGRAMS = (
    "usr/lib/postgresql/17/bin/postgres",
    "usr/lib/postgresql/17/bin/initdb",
    "usr/sbin/mariadbd",
    "usr/sbin/pgbouncer",
)
_NOT_NEEDED = ("libllvm", "libz3", "perl", "libperl", "locales", "libc-l10n")
"""packages that those depend on and that a server of a test never loads (a JIT compiler, scripts): half of all bytes"""
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_VARIABLE = "VECFERRY_TEST_DEBIAN_MIRROR"
_TIMEOUT_S = 300


def program(path: str) -> Path:
    """A command that runs the tree's program `path`, one of `PROGRAMS`; fetched on first use (some 15 seconds).

    Raises:
        Unavailable: this is no Linux with apt and Debian's keys, or the mirror cannot be reached.
    """
    return tree() / path


def tree() -> Path:
    """The folder that the packages are unpacked in.

    Raises:
        Unavailable: as `program`.
    """
    folder = Path(platformdirs.user_cache_dir("vecferry")) / "debian"
    folder.mkdir(parents=True, exist_ok=True)
    ready = folder / f"{SUITE}-{EDITION}"
    with locked(folder / ".lock"):
        if not ready.exists():
            _build(ready)
    return ready


def _build(ready: Path) -> None:
    """Fetch and unpack in a folder beside, which gets its name when all is done: no half a tree is ever used."""
    source = _source()
    with tempfile.TemporaryDirectory(dir=ready.parent, prefix="unfinished-") as room:
        fresh = Path(room) / "tree"
        for package in _fetch(Path(room), source):
            if not package.name.startswith(_NOT_NEEDED):
                _run("dpkg-deb", "--extract", str(package), str(fresh))
        for name in PROGRAMS:
            _wrap(fresh, name)
        fresh.rename(ready)


def _source() -> str:
    """A line of apt's for the suite, from the mirror of this machine."""
    if platform.system() != "Linux" or not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise Unavailable("There is no apt here to fetch Debian's packages with.", hint=_ELSEWHERE)
    if not _KEYRING.exists():
        raise Unavailable("The keys of Debian's archive are missing.", hint="apt install debian-archive-keyring")
    mirror = os.environ.get(_VARIABLE) or _mirror_of_this_machine()
    if mirror is None:
        raise Unavailable("The apt sources of this machine name no Debian mirror.", hint=_ELSEWHERE)
    return f"deb [signed-by={_KEYRING}] {mirror} {SUITE} main\n"


_ELSEWHERE = (
    f"Set {_VARIABLE}=URL on a machine with apt, or start the servers yourself and set VECFERRY_TEST_POSTGRES_URL "
    "and VECFERRY_TEST_MARIADB_URL."
)


def _mirror_of_this_machine() -> str | None:
    """Where this machine gets its own Debian's main packages from."""
    if platform.freedesktop_os_release().get("ID") != "debian":
        return None
    listed = _run("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
    for line in listed.splitlines():
        uri, release, component = line.split()
        if component == "main" and "-" not in release:  # "bookworm-security" stands elsewhere
            return uri
    return None


def _fetch(room: Path, source: str) -> list[Path]:
    """Download the packages and all that they depend on, as if nothing were installed."""
    for folder in ("lists/partial", "archives/partial", "state"):
        (room / folder).mkdir(parents=True)
    (room / "sources.list").write_text(source)
    (room / "status").touch()
    settings = {
        "Dir::Etc::sourcelist": room / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State": room / "state",
        "Dir::State::lists": room / "lists",
        "Dir::State::status": room / "status",
        "Dir::Cache": room,
        "APT::Sandbox::User": "root",  # root's cache is closed to apt's own user
        "APT::Install-Recommends": "false",
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
    }
    apt = ["apt-get", "--quiet=2", *(f"--option={name}={value}" for name, value in settings.items())]
    _run(*apt, "update", "--error-on=any")
    _run(*apt, "install", "--yes", "--download-only", *PACKAGES)
    return sorted((room / "archives").glob("*.deb"))


def _wrap(fresh: Path, name: str) -> None:
    """Put a script in the place of a program: it starts the program with the tree's own loader and libraries.

    The program is told the script's name, from which it finds its other files, wherever the tree lies.
    """
    script = fresh / name
    script.rename(script.with_name(script.name + ".real"))
    up = "/".join([".."] * (len(Path(name).parts) - 1))
    (loader,) = fresh.glob("usr/lib/*-linux-gnu*/ld-linux-*.so.*")
    libraries = loader.parent.relative_to(fresh)
    script.write_text(
        "#!/bin/sh\n"
        f'tree="${{0%/*}}/{up}"\n'
        f'exec "$tree/{loader.relative_to(fresh)}" --argv0 "$0" --library-path "$tree/{libraries}" "$0.real" "$@"\n'
    )
    script.chmod(0o755)


def _run(*command: str) -> str:
    try:
        done = subprocess.run(
            command,
            check=True,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            env={**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", "") or error).strip()
        raise Unavailable(
            f"{command[0]} failed: {said[-400:]}", hint="Run again once the mirror can be reached."
        ) from error
    return done.stdout
