"""The memory of a process that answers large requests in many threads."""

import ctypes
import sys
import threading
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_ARENAS: Final = -8
_LARGE_BYTES: Final = 512 * 1024  # more than ordinary batches have, whose memory is best used again
_ARENAS_AT_MOST: Final = 2
# The system's usual 8 MiB count against limits on data, once for each of twenty threads. Python 3.11 needs a quarter of
# this to the end of its recursion limit. Later ones let C call itself up to 10,000 times, whatever the stack: decoders
# of JSON need nearly 4 MiB for that with 3.13, and end the process where there are less.
_STACK_BYTES: Final = 2 * 1024 * 1024


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


def start_threads_with_small_stacks() -> None:
    """Make threads that start from now on reserve 2 MiB of stack, where that is enough for any recursion."""
    if sys.version_info < (3, 12):
        threading.stack_size(_STACK_BYTES)
