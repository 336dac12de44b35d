"""Form bodies, as browsers and ``curl -d`` send them."""

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser

from app.common.errors import ParseError
from app.http.fields import FormText

URL_ENCODED: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data"

_MAX_FIELDS = 1000
_LONGEST_TYPE = 1024  # a boundary has at most 70 characters
_SLICE_BYTES = 16 * 1024  # what is decoded at a stretch: a few milliseconds, whatever it is
_ESCAPE_BYTES = len("%41")


class Form(dict[str, FormText]):
    """The fields of a form; the last one of a repeated name counts."""


def parse_url_encoded(body: bytes) -> Form:
    """Parse ``name=value&...``."""
    return Form(field for field in _decode_fields(body) if field is not None)


async def read_url_encoded(body: bytes) -> Form:
    """Parse ``name=value&...`` in slices, between which other requests are served."""
    form = Form()
    for field in _decode_fields(body):
        if field is not None:
            form.update([field])
        await asyncio.sleep(0)
    return form


def _decode_fields(body: bytes) -> Iterator[tuple[str, FormText] | None]:
    """Yield the name and value of each field, and None after each slice of the work."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise ParseError(f"Form parse error - {error.reason} at byte {error.start}") from error
    fields = body.split(b"&", _MAX_FIELDS)
    if len(fields) > _MAX_FIELDS:
        raise ParseError(f"Form parse error - more than {_MAX_FIELDS} fields")
    for field in filter(None, fields):
        name, _, value = field.partition(b"=")
        yield (yield from _decode_text(name)), FormText((yield from _decode_text(value)))


def _decode_text(text: bytes) -> Generator[None, None, str]:
    """Return a text without its escapes, yielding after each slice."""
    decoded = []
    text = text.replace(b"+", b" ")
    start = 0
    while start < len(text):
        end = start + _SLICE_BYTES
        if end < len(text):  # an escape is not cut in two
            escape = text.rfind(b"%", end - _ESCAPE_BYTES + 1, end)
            end = escape if escape >= 0 else end
        decoded.append(unquote_to_bytes(text[start:end]))
        start = end
        yield
    return b"".join(decoded).decode(errors="replace")


def read_boundary(content_type: str) -> bytes | None:
    """Return what separates the parts of a multipart form; None if the header names nothing, or something else.

    A header that is longer than any client makes it is not read: that takes time with the square of its length.
    """
    if len(content_type) > _LONGEST_TYPE:
        return None
    media_type, options = parse_options_header(content_type)
    return options.get(b"boundary") if media_type == MULTIPART.encode() else None


async def parse_multipart(body: bytes, content_type: str) -> Form:
    """Parse a multipart form in slices. Files are refused, because no field accepts one.

    The parser itself bounds the headers of a part, in number and in bytes.
    """

    async def chunks() -> AsyncGenerator[bytes]:
        for start in range(0, len(body), _SLICE_BYTES):
            yield body[start : start + _SLICE_BYTES]
            await asyncio.sleep(0)

    boundary = (read_boundary(content_type) or b"").decode("latin-1")
    parser = MultiPartParser(
        # Only the boundary is passed on: a client could name a character set that takes minutes to decode.
        Headers({"content-type": f'{MULTIPART}; boundary="{boundary}"' if boundary else MULTIPART}),
        chunks(),
        max_files=0,
        max_fields=_MAX_FIELDS,
        max_part_size=len(body),
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise ParseError(f"Multipart form parse error - {error.message}") from error
    return Form((name, FormText(value)) for name, value in form.multi_items() if isinstance(value, str))
