"""A process made ready for batches: freed memory is kept, and garbage is looked for seldom.

Batches come and go by the hundred, each a few MiB. glibc returns such blocks to the kernel as soon as they are free,
which then clears and maps every page again: a fifth of the time of reading a collection back (benchmarks.md). And the
thousands of small objects of each batch go by themselves; looking for cycles among them costs 5 %.
"""

from __future__ import annotations

import ctypes
import gc
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of `mallopt`, from glibc's malloc.h."""
_KEPT_BYTES = 64 << 20
_LARGE_BYTES = 16 << 20
_GARBAGE = (50_000, 20, 20)


def prepare() -> None:
    """Let this process keep up to 64 MiB of freed memory (where the C library is glibc), and collect seldom."""
    gc.set_threshold(*_GARBAGE)
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
