"""Large blocks of memory: given back to the system at once, or kept for a while by code that uses them again.

This is about glibc's allocator. Other C libraries are left alone.
"""

import contextlib
import ctypes
import threading
from collections.abc import Iterator
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_ARENAS: Final = -8
_LARGE_BYTES: Final = 512 * 1024  # more than ordinary batches have, whose memory is best used again
_KEPT_BYTES: Final = 32 * 1024 * 1024
_ARENAS_AT_MOST: Final = 2


class _Allocator:
    """The C library's allocator, and how much code wants it to keep large blocks."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._keepers = 0
        self._lock = threading.Lock()
        self._returns_blocks = False

    def return_blocks(self) -> None:
        if hasattr(self._library, "mallopt"):
            self._returns_blocks = True
            self._library.mallopt(_ARENAS, _ARENAS_AT_MOST)
            self._set_threshold(_LARGE_BYTES)

    def keep(self) -> None:
        with self._lock:
            self._keepers += 1
            if self._returns_blocks and self._keepers == 1:
                self._set_threshold(_KEPT_BYTES)

    def keep_no_longer(self) -> None:
        with self._lock:
            self._keepers -= 1
            if self._returns_blocks and self._keepers == 0:
                self._set_threshold(_LARGE_BYTES)
                self._library.malloc_trim(0)

    def _set_threshold(self, size: int) -> None:
        self._library.mallopt(_MMAP_THRESHOLD, size)
        self._library.mallopt(_TRIM_THRESHOLD, size)


_ALLOCATOR: Final = _Allocator()


def return_large_blocks() -> None:
    """Make glibc give the memory of large requests back to the system when they are answered.

    By itself it keeps blocks of up to 32 MiB for later, once one of that size was freed, and that in a heap for each of
    some threads: half a minute of events of 1 MiB left 120 MB that nothing used.
    """
    _ALLOCATOR.return_blocks()


@contextlib.contextmanager
def large_blocks_kept() -> Iterator[None]:
    """Let large blocks be used again inside the block; when the last such block ends, they are given back.

    Counting makes and drops arrays of megabytes all the time. If each of them went back to the system, which has to
    clear every page that it gives, that would be half of the processor time.
    """
    _ALLOCATOR.keep()
    try:
        yield
    finally:
        _ALLOCATOR.keep_no_longer()
