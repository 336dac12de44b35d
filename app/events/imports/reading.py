"""Reads the rest of a file as batches: in this process, or in one of its own beside the one that stores them."""

import contextlib
import datetime as dt
import fcntl
import logging
import os
import signal
import struct
import subprocess
import sys
import threading
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

logger = logging.getLogger("abacus")

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

    def batches_of_file(self) -> Generator[Batch, None, None]:
        """Make batches of the file, in this process, which opens it anew."""
        lines = LineReader(self.name)
        lines.skip_to(self.position)
        return self.batches(iter(lines), lines.share)


class _EndedEarlyError(Exception):
    """The process that reads has ended before it sent all batches, as when it is killed."""


class ReadingProcess:
    """A process that reads a file, one batch ahead of the one that stores them. It ends with this process."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._position = reading.position  # of the first line that was not received
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_stopped = False

    def batches(self) -> Generator[Batch, None, None]:
        """Yield the batches that ``Reading.batches`` makes of the file. Without room for a process, this one reads it.

        Where the process is killed, another one goes on after the last batch that was received.

        Raises
        ------
        FileRefused
            Also where the process ends before its first batch: the next one would, too.
        """
        while True:
            position, name = self._position, self._reading.name
            try:
                yield from self._rest(msgspec.structs.replace(self._reading, position=position))
            except _EndedEarlyError:
                if self._is_stopped or self._position == position:
                    reason = "the process that reads it was ended before its next batch, as where memory is short"
                    raise FileRefused(f"{name}: {reason}; import it again to go on") from None
                logger.warning("the process that reads %s was ended; another one goes on", name)
            else:
                return

    def _rest(self, rest: Reading) -> Generator[Batch, None, None]:
        try:
            started = self._start()
        except OSError as error:
            logger.warning("%s is read without a process of its own: %s", rest.name, error)
            yield from rest.batches_of_file()
            return
        with started as process:
            if process.stdin is None or process.stdout is None:
                raise TypeError("a process was started without its pipes")
            _widen(process.stdout)
            try:
                with contextlib.suppress(BrokenPipeError):  # it has ended, which is seen when it is read from
                    os.write(process.stdin.fileno(), msgspec.json.encode(rest) + b"\n")
                for batch in _received(process.stdout):
                    self._position = batch.end
                    yield batch
            finally:
                process.kill()

    def stop(self) -> None:
        """End the process, also while another thread waits for its next batch."""
        with self._lock:
            self._is_stopped = True
            if self._process is not None:
                self._process.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._lock, _signals_blocked():
            self._process = subprocess.Popen(  # noqa: S603  # this program itself
                [sys.executable, "-P", "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": _search_path()},
            )
            if self._is_stopped:
                self._process.kill()
            return self._process


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block for what is started the signals that terminals and supervisors send to all processes of a service.

    This process decides what they mean: what it reads would otherwise look damaged while it stops in good order.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _widen(pipe: IO[bytes]) -> None:
    """Let a pipe hold more, so that the processes wait for each other less often."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux
        with contextlib.suppress(OSError):  # more than this user may have
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _search_path() -> str:
    """Return where the process finds this program, wherever it was started."""
    return os.pathsep.join(filter(None, (str(Path(app.__file__).parent.parent), os.environ.get("PYTHONPATH"))))


def _received(source: IO[bytes]) -> Generator[Batch, None, None]:
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
            raise _EndedEarlyError


def serve(source: IO[bytes], target: IO[bytes]) -> None:
    """Read what is asked for, and send the batches."""

    def send(kind: bytes, body: bytes = b"") -> None:
        target.write(_LENGTH.pack(kind, len(body)))
        target.write(body)
        target.flush()

    reading = msgspec.json.decode(source.readline(), type=Reading)
    threading.Thread(target=_end_with, args=[source.fileno()], daemon=True).start()
    try:
        for batch in reading.batches_of_file():
            send(_BATCH, pack(batch))
    except FileRefused as refusal:
        send(_REFUSAL, str(refusal).encode())
    else:
        send(_END)


def _end_with(source: int) -> None:
    """End this process when the other one does, however long the next batch takes."""
    while os.read(source, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    try:
        serve(sys.stdin.buffer, sys.stdout.buffer)
    except BrokenPipeError:  # the process that stores has ended
        os._exit(1)
