"""Reads the rest of a file as batches: in this process, or in one of its own beside the one that stores them."""

import contextlib
import datetime as dt
import fcntl
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import IO, Final

import msgspec

import app
from app.events.capture.decoding.clock import RequestClock
from app.events.imports.batches import Batch, read_batches
from app.events.imports.formats import Format, Kind, Recognized
from app.events.imports.lines import FileRefused, Line, LineReader
from app.events.imports.parcels import pack, unpack
from app.events.imports.records import EventReader

_LENGTH: Final = struct.Struct("!cI")  # of what follows, after its kind
_PIPE_BYTES: Final = 1024 * 1024  # in place of 64 KiB
_BATCH, _REFUSAL, _END = b"b", b"r", b"e"


class Reading(msgspec.Struct, frozen=True):
    """What is read of a file, and how.

    Attributes
    ----------
    position : int
        The offset of the first line.
    now : datetime
        When the import began.
    time_offset : int
        In seconds, for Mixpanel.
    events_since : int
        In microseconds since 1970 UTC: earlier events are refused.
    most : int or None
        The events of a batch; None for the usual number.
    """

    name: str
    position: int
    format: Format
    kind: Kind
    now: dt.datetime
    time_offset: int
    events_since: int
    most: int | None

    def batches(self, lines: Iterator[Line], share: Callable[[], float | None]) -> Generator[Batch, None, None]:
        """Make batches of lines, in this process."""
        read_line = Recognized(self.format, self.kind).reader(self.time_offset)
        marks = self.format != "abacus"
        reader = EventReader(read_line, RequestClock(self.now, None), self.events_since, marks=marks)
        return read_batches(lines, reader.read, share, self.most)

    def batches_of_process(self) -> Generator[Batch, None, None]:
        """Yield the same batches of the file, read by another process, which is one batch ahead.

        Raises
        ------
        FileRefused
        """
        with _start_process(self.name) as process:
            if process.stdin is None or process.stdout is None:
                raise TypeError("a process was started without its pipes")
            _widen(process.stdout)
            try:
                process.stdin.write(msgspec.json.encode(self))
                process.stdin.close()
                yield from _received(process.stdout, self.name)
            finally:
                process.kill()


def _start_process(name: str) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603  # this program itself
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": _search_path()},
        )
    except OSError as error:
        raise FileRefused(f"{name}: no process could be started to read it ({error.strerror})") from error


def _widen(pipe: IO[bytes]) -> None:
    """Let a pipe hold more, so that the processes wait for each other less often."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux
        with contextlib.suppress(OSError):  # more than this user may have
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _search_path() -> str:
    """Return where the process finds this program, wherever it was started."""
    return os.pathsep.join(filter(None, (str(Path(app.__file__).parent.parent), os.environ.get("PYTHONPATH"))))


def _received(source: IO[bytes], name: str) -> Generator[Batch, None, None]:
    while True:
        head = source.read(_LENGTH.size)
        kind, size = _LENGTH.unpack(head) if len(head) == _LENGTH.size else (b"", 0)
        body = source.read(size)
        if kind == _BATCH and len(body) == size:
            yield unpack(body)
        elif kind == _REFUSAL and len(body) == size:
            raise FileRefused(body.decode())
        elif kind == _END:
            return
        else:
            raise FileRefused(f"{name}: the process that reads it ended early; import it again to go on")


def serve(source: IO[bytes], target: IO[bytes]) -> None:
    """Read what is asked for, and send the batches."""

    def send(kind: bytes, body: bytes = b"") -> None:
        target.write(_LENGTH.pack(kind, len(body)))
        target.write(body)
        target.flush()

    reading = msgspec.json.decode(source.read(), type=Reading)
    lines = LineReader(reading.name)
    lines.skip_to(reading.position)
    try:
        for batch in reading.batches(iter(lines), lines.share):
            send(_BATCH, pack(batch))
    except FileRefused as refusal:
        send(_REFUSAL, str(refusal).encode())
    else:
        send(_END)


if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that stores is interrupted, and ends this one
    try:
        serve(sys.stdin.buffer, sys.stdout.buffer)
    except BrokenPipeError:  # the process that stores has ended
        os._exit(1)
