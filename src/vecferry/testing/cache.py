"""Files that test servers need and that are fetched or built once per machine: one process at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file `path` against other processes: parallel test workers fetch and build once."""
    import fcntl  # only here: Windows has none, and the modules that import us stay importable there

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
