"""The stacks of a process with many threads."""

import sys
import threading
from typing import Final

# The system's usual 8 MiB count against limits on data, once for each of twenty threads. Python 3.11 needs a quarter of
# this to the end of its recursion limit. Later ones let C call itself up to 10,000 times, whatever the stack: decoders
# of JSON need nearly 4 MiB for that with 3.13, and end the process where there are less.
_STACK_BYTES: Final = 2 * 1024 * 1024


def start_threads_with_small_stacks() -> None:
    """Make threads that start from now on reserve 2 MiB of stack, where that is enough for any recursion."""
    if sys.version_info < (3, 12):
        threading.stack_size(_STACK_BYTES)
