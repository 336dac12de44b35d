"""Threads whose stacks are small end in an error, and not with the process, however deep what they read is."""

import subprocess
import sys

SCRIPT = """
import contextlib, json, threading
import msgspec
from app.operations.memory_tuning import start_threads_with_small_stacks

def read():
    for depth in range(500, 12_000, 500):
        text = '{"a":[' * depth + "1" + "]}" * depth
        with contextlib.suppress(RecursionError):
            msgspec.json.Encoder(order="sorted").encode(msgspec.json.decode(text))
        with contextlib.suppress(RecursionError):
            json.dumps(json.loads(text), indent=1)
    print("read")

start_threads_with_small_stacks()
thread = threading.Thread(target=read)
thread.start()
thread.join()
"""


def test_what_is_nested_deeply_does_not_end_the_process() -> None:
    """Python 3.13, for one, lets C call itself so often that a stack of 2 MiB is too small."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, timeout=60)

    assert (done.returncode, done.stdout) == (0, "read\n"), done.stderr
