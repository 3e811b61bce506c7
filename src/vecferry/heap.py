"""Freed memory is kept for the next batch instead of being handed back to the system each time.

Batches come and go by the hundred, each a few MiB. glibc returns such blocks to the kernel as soon as they are free,
which then clears and maps every page again: a fifth of the time of reading a collection back (benchmarks.md).
"""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of `mallopt`, from glibc's malloc.h."""
_KEPT_BYTES = 64 << 20
_LARGE_BYTES = 16 << 20


def keep_freed_memory() -> None:
    """Let this process keep up to 64 MiB of freed memory. Of no effect where the C library is not glibc."""
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
