"""A multipart form with one file, which is read as it comes."""

from collections import deque
from collections.abc import AsyncIterator
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.common.errors import ParseError, UnsupportedMediaType
from app.http.forms import read_boundary

_LONGEST_HEADER: Final = 4096
_MOST_BEFORE: Final = 256 * 1024  # bytes of other fields, which come before the file


class UploadedFile:
    """The first file of a form, under the name that the browser gives it."""

    def __init__(self, pieces: AsyncIterator[bytes], boundary: bytes) -> None:
        self.name = ""
        self._pieces = pieces
        self._content: deque[bytes] = deque()
        self._header = (bytearray(), bytearray())  # the name and the value of one
        self._is_file = self._has_begun = self._has_ended = False
        self._parser = MultipartParser(
            boundary,
            callbacks={
                "on_header_field": lambda data, start, end: self._add(0, data[start:end]),
                "on_header_value": lambda data, start, end: self._add(1, data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._begin,
                "on_part_data": self._take,
                "on_part_end": self._end,
            },
        )

    @classmethod
    async def find(cls, pieces: AsyncIterator[bytes], content_type: str) -> "UploadedFile":
        """Read a form up to where its file begins.

        Raises
        ------
        UnsupportedMediaType
        ParseError
            The form has no file, or is not one.
        """
        boundary = read_boundary(content_type)
        if boundary is None:
            raise UnsupportedMediaType("A file is sent as multipart/form-data.")
        try:
            found = cls(pieces, boundary)
        except FormParserError as error:
            raise ParseError(f"Multipart form parse error - {error}") from error
        before = 0
        while not found._has_begun:
            if before > _MOST_BEFORE:
                raise ParseError("The form holds too much before its file.")
            before += await found._feed()
        return found

    async def content(self) -> AsyncIterator[bytes]:
        while True:
            while self._content:
                yield self._content.popleft()
            if self._has_ended:
                return
            await self._feed()

    async def _feed(self) -> int:
        """Read more of the form; return the number of bytes."""
        piece = await anext(self._pieces, None)
        if piece is None:
            raise ParseError("The form ends without a file." if not self._has_begun else "The form ended early.")
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise ParseError(f"Multipart form parse error - {error}") from error
        return len(piece)

    def _add(self, place: int, data: bytes) -> None:
        self._header[place].extend(data)
        if len(self._header[place]) > _LONGEST_HEADER:
            raise ParseError("Multipart form parse error - a header is too long")

    def _end_header(self) -> None:
        name, value = (bytes(part) for part in self._header)
        self._header = (bytearray(), bytearray())
        if name.lower() == b"content-disposition" and not self._has_begun:
            _, options = parse_options_header(value)
            self._is_file = b"filename" in options
            self.name = options.get(b"filename", b"").decode("utf-8", "replace")

    def _begin(self) -> None:
        self._has_begun |= self._is_file

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._is_file and not self._has_ended:
            self._content.append(data[start:end])

    def _end(self) -> None:
        self._has_ended |= self._has_begun
