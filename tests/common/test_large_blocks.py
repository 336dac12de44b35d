"""Large blocks of memory stay with the process while code keeps them, and go back to the system afterwards."""

import ctypes
import subprocess
import sys

import pytest

SCRIPT = """
import pathlib
from app.common.large_blocks import large_blocks_kept, return_large_blocks

def resident():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096

def use():
    blocks = [bytearray(b"x" * 2**20) for _ in range(20)]
    del blocks
    return resident()

return_large_blocks()
before = resident()
returned = use()
with large_blocks_kept():
    with large_blocks_kept():
        use()
    kept = use()
print(*(one > before + 10 * 2**20 for one in (returned, kept, resident())))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="only glibc can give memory back on request")
def test_large_blocks_are_kept_until_the_last_who_wants_them_ends() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, timeout=60)

    assert done.stdout.split() == ["False", "True", "False"], done.stderr
