"""The allocator of the C library under large requests in many threads."""

import ctypes
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_ARENAS: Final = -8
_LARGE_BYTES: Final = 512 * 1024  # more than ordinary batches have, whose memory is best used again
_ARENAS_AT_MOST: Final = 2


def return_large_blocks() -> None:
    """Make glibc give the memory of large requests back to the system when they are answered.

    By itself it keeps blocks of up to 32 MiB for later, once one of that size was freed, and that in a heap for each of
    some threads: half a minute of events of 1 MiB left 120 MB that nothing used. Other C libraries are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_ARENAS, _ARENAS_AT_MOST)
    mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
    mallopt(_TRIM_THRESHOLD, _LARGE_BYTES)
