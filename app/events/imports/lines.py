"""The lines of a file, however it is compressed, with bounded memory.

Compression is told by the first bytes, not by the name. The offset of a line counts bytes after decompression, over all
members of an archive.
"""

import gzip
import importlib
import io
import sys
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, TypeAlias

from app.common import limits
from app.common.limits import MIB

STANDARD_INPUT: Final = "-"
_BUFFER_BYTES: Final = 256 * 1024
_PIECE_BYTES: Final = 64 * 1024
_LONGEST_SKIPPED: Final = 64 * MIB
# Deflate shrinks nothing to less than a thousandth, and lines of JSON rarely to a fiftieth.
_LARGEST_RATIO: Final = 500
_UNSUSPICIOUS_BYTES: Final = 256 * MIB
_ZSTD_BYTES: Final = 1024  # which become at most 32 MiB
_MEMBER_LIST_BYTES: Final = 8 * MIB  # of an archive: a member takes 47 bytes there or more, and 300 in memory
_PARQUET_ROWS: Final = 16  # in memory at a time: a value that is stored once may be in all of them
_GZIP, _ZSTD, _ZIP, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"PAR1"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_ENCRYPTED: Final = 0x1


def _zstd_errors() -> tuple[type[Exception], ...]:
    try:
        return (importlib.import_module("zstandard").ZstdError,)
    except ImportError:
        return ()


_DAMAGES: Final[tuple[type[Exception], ...]] = (
    EOFError,
    zlib.error,
    gzip.BadGzipFile,
    zipfile.BadZipFile,
    UnicodeDecodeError,  # in names of members and texts of Parquet
    *_zstd_errors(),
)
_FAILURES: Final[tuple[type[Exception], ...]] = (OSError, *_DAMAGES)
Buffered: TypeAlias = "io.BufferedReader[Any]"


class Line(NamedTuple):
    """A line that is not blank: ``text`` is None where it is longer than ``limits.IMPORTED_LINE_BYTES``."""

    member: str  # of an archive; empty in other files
    number: int  # in the member, from 1
    end: int  # the offset at which the next line begins
    text: bytes | None


class FileRefused(ValueError):
    """A file, or the rest of it, that cannot be read: names it, and the line where that is known."""


class LineReader:
    """Yields the lines of a file, or of the standard input, that begin at an offset or later.

    Raises
    ------
    FileRefused
        The file is missing, damaged, encrypted, packed twice, or much larger than it should be.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._after = 0
        self._stack = ExitStack()
        self._source: Buffered | None = None
        self._size: int | None = None
        self._lines = self._read()

    def __iter__(self) -> Iterator[Line]:
        return self._lines

    def skip_to(self, offset: int) -> None:
        """Leave out the lines before an offset. Call this before the first line is read."""
        self._after = offset

    def share(self) -> float | None:
        """Return the share of the file that was read; None where its size is not known."""
        if self._source is None or not self._size or self._source.closed:
            return None
        return self._source.tell() / self._size

    def close(self) -> None:
        self._lines.close()
        self._stack.close()

    def _read(self) -> Generator[Line, None, None]:
        with self._stack:
            try:
                self._source, self._size = _open(self._name, self._stack)
                members = _members(self._name, self._source, self._stack)
                yield from _of_members(self._name, members, self._size, self._after)
            except _FAILURES as error:
                raise FileRefused(f"{self._name}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"is damaged or incomplete ({error})"


def _open(name: str, stack: ExitStack) -> tuple[Buffered, int | None]:
    """Return a file and its size, which the standard input does not tell."""
    if name == STANDARD_INPUT:
        return io.BufferedReader(io.FileIO(sys.stdin.fileno(), closefd=False), _BUFFER_BYTES), None
    path = Path(name)
    if path.is_dir():
        raise FileRefused(f"{name}: is a directory; name its files")
    if path.exists() and not path.is_file():  # it is read several times, and a pipe would be empty after the first
        raise FileRefused(f"{name}: is not a file; send it to the standard input, which is named -")
    raw = stack.enter_context(io.FileIO(path))
    return io.BufferedReader(raw, _BUFFER_BYTES), path.stat().st_size


def _members(name: str, source: Buffered, stack: ExitStack) -> Iterator[tuple[str, IO[bytes]]]:
    if not _begins_with(source, _ZIP):
        yield "", _decompressed(name, source)
        return
    if name == STANDARD_INPUT:
        raise FileRefused("-: a ZIP archive is read from a file, not from the standard input")
    for archive, member in _listed(name, source, stack):
        if member.flag_bits & _ENCRYPTED:
            raise FileRefused(f"{name}: {member.filename} is encrypted")
        try:
            opened = archive.open(member)
        except NotImplementedError as error:
            raise FileRefused(f"{name}: {member.filename} is compressed in a way that is not read") from error
        with io.BufferedReader(_Piecewise(opened), _PIECE_BYTES) as unpacked:
            if _begins_with(unpacked, _ZIP):
                raise FileRefused(f"{name}: {member.filename} is an archive inside an archive")
            yield member.filename, _decompressed(name, unpacked)


def _listed(name: str, source: Buffered, stack: ExitStack) -> Iterator[tuple[zipfile.ZipFile, zipfile.ZipInfo]]:
    """Yield the files of an archive."""
    try:
        archive = stack.enter_context(zipfile.ZipFile(_InPieces(name, source)))
    except NotImplementedError as error:
        raise FileRefused(f"{name}: is an archive of a kind that is not read ({error})") from error
    for member in archive.infolist():
        if member.filename and not member.is_dir():
            yield archive, member


def _decompressed(name: str, source: Buffered) -> IO[bytes]:
    if _begins_with(source, _GZIP):
        return io.BufferedReader(_Piecewise(gzip.GzipFile(fileobj=source)), _PIECE_BYTES)
    if _begins_with(source, _ZSTD):
        library = _optional("zstandard", name, "zstd")
        return io.BufferedReader(_ZstdStream(library, source), _PIECE_BYTES)
    if _begins_with(source, _PARQUET):
        return _JsonOfParquet(_optional("pyarrow.parquet", name, "parquet"), name)  # type: ignore[return-value]  # the part of a stream that is used
    return source


def _begins_with(source: Buffered, magic: bytes) -> bool:
    return source.peek(len(magic)).startswith(magic)


def _optional(module: str, name: str, extra: str) -> Any:  # noqa: ANN401  # a module without types
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise FileRefused(f"{name}: reading it needs a library: pip install 'abacus[{extra}]'") from error


class _InPieces:
    """An archive of which little is read at once: its list of members is, and is held in memory as a whole."""

    def __init__(self, name: str, source: Buffered) -> None:
        self._name = name
        self._read = source.read
        self.seek, self.tell, self.seekable = source.seek, source.tell, source.seekable

    def read(self, size: int = -1) -> bytes:
        if size > _MEMBER_LIST_BYTES:
            raise FileRefused(f"{self._name}: is an archive of too many files")
        return self._read(size if size >= 0 else _MEMBER_LIST_BYTES)


class _Piecewise(io.RawIOBase):
    """A stream that is read in pieces as they come, so that what is before a damage is not lost with it."""

    def __init__(self, source: IO[bytes] | gzip.GzipFile) -> None:
        self._read1: Callable[[int], bytes] = source.read1  # type: ignore[union-attr]  # both have it

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401  # as the base class has it
        piece = self._read1(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


class _ZstdStream(io.RawIOBase):
    """What frames of zstd hold. The library's own reader takes a file that is cut off for one that ends."""

    def __init__(self, library: Any, source: Buffered) -> None:  # noqa: ANN401  # a module without types
        self._library = library
        self._source = source
        self._frame: Any = None  # None between frames
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401  # as the base class has it
        while not self._ready:
            sent = self._source.read(_ZSTD_BYTES)
            if not sent:
                if self._frame is not None:
                    raise EOFError("the last frame is not complete")
                return 0
            self._ready = memoryview(self._decompress(sent))
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _decompress(self, sent: bytes) -> bytes:
        parts = []
        while sent:
            if self._frame is None:
                self._frame = self._library.ZstdDecompressor().decompressobj()
            parts.append(self._frame.decompress(sent))
            if not self._frame.eof:
                break
            sent, self._frame = self._frame.unused_data, None
        return b"".join(parts)


class _JsonOfParquet:
    """A Parquet file as a stream of JSON lines, a few rows in memory at a time."""

    def __init__(self, library: Any, name: str) -> None:  # noqa: ANN401  # a module without types
        if name == STANDARD_INPUT:
            raise FileRefused("-: Parquet is read from a file, not from the standard input")
        encode = importlib.import_module("msgspec").json.encode
        try:
            batches = library.ParquetFile(name).iter_batches(batch_size=_PARQUET_ROWS)
        except ValueError as error:  # of which the library's own errors are
            raise FileRefused(f"{name}: is damaged or incomplete ({error})") from error
        self._lines: Iterator[bytes] = (encode(row) + b"\n" for batch in batches for row in batch.to_pylist())

    def readline(self, _limit: int) -> bytes:
        try:
            return next(self._lines, b"")
        except ValueError as error:
            raise EOFError(str(error)) from error


def _of_members(name: str, members: Iterator[tuple[str, IO[bytes]]], size: int | None, after: int) -> Iterator[Line]:
    longest = limits.IMPORTED_LINE_BYTES.value
    most = None if size is None else max(size * _LARGEST_RATIO, _UNSUSPICIOUS_BYTES)
    end = 0
    for member, stream in members:
        readline: Callable[[int], bytes] = stream.readline
        number = 0
        while True:
            text: bytes | None
            try:
                text = readline(longest + 1)
            except _DAMAGES as error:
                place = _place(name, member, number + 1)
                raise FileRefused(f"{place}: the file is damaged or incomplete here ({error})") from error
            if not text:
                break
            number += 1
            start = end
            end += len(text)
            if len(text) > longest and not text.endswith(b"\n"):
                end += _skip_line(readline, _place(name, member, number))
                text = None
            if most is not None and end > most:
                place = _place(name, member, number)
                raise FileRefused(f"{place}: the file unpacks to more than {_LARGEST_RATIO} times its size")
            if start < after:
                continue
            if text is not None:
                text = (text.removeprefix(_BYTE_ORDER_MARK) if number == 1 else text).strip()
                if not text:
                    continue
            yield Line(member, number, end, text)


def _place(name: str, member: str, number: int) -> str:
    return f"{name}: {f'{member}, ' if member else ''}line {number:,}"


def _skip_line(readline: Callable[[int], bytes], place: str) -> int:
    """Read the rest of a line without keeping it; return its bytes."""
    skipped = 0
    while True:
        part = readline(_BUFFER_BYTES)
        skipped += len(part)
        if not part or part.endswith(b"\n"):
            return skipped
        if skipped > _LONGEST_SKIPPED:
            raise FileRefused(f"{place}: is longer than {_LONGEST_SKIPPED // MIB} MiB; this is not a file of lines")
