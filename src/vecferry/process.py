"""A process made ready to move batches: freed memory is kept, and garbage is looked for seldom."""

from __future__ import annotations

import ctypes
import gc
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Parameters of `mallopt`, from glibc's malloc.h."""
_KEPT_BYTES = 16 << 20
_LARGE_BYTES = 16 << 20
_ARENAS = 2
_GARBAGE = (50_000, 20, 20)


def prepare() -> None:
    """Prepare this process; for the command line and for processes that we start, never for somebody's own program."""
    # The thousands of small objects of each batch go by themselves; looking for cycles among them costs 5 %.
    gc.set_threshold(*_GARBAGE)
    if platform.libc_ver()[0] == "glibc":
        _keep_freed_memory()


def let_go() -> None:
    """Give memory that was freed, and kept, back to the system: before another process needs some."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def _keep_freed_memory() -> None:
    """Let glibc keep what was freed for the next batch.

    It returns large blocks to the kernel as soon as they are free, which then clears and maps every page again: a
    fifth of the time of reading a collection back. Few arenas, so that what is kept is not kept once per thread.
    """
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
    mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
    mallopt(_ARENA_MAX, _ARENAS)
