"""Form bodies, as browsers and ``curl -d`` send them."""

from collections.abc import AsyncGenerator
from typing import Final
from urllib.parse import parse_qsl

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser

from app.common.errors import ParseError
from app.http.fields import FormText

URL_ENCODED: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data"

_MAX_FIELDS = 1000


class Form(dict[str, FormText]):
    """The fields of a form; the last one of a repeated name counts."""


def parse_url_encoded(body: bytes) -> Form:
    """Parse ``name=value&...``."""
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except UnicodeDecodeError as error:
        raise ParseError(f"Form parse error - {error.reason} at byte {error.start}") from error
    except ValueError as error:
        raise ParseError(f"Form parse error - more than {_MAX_FIELDS} fields") from error
    return Form((name, FormText(value)) for name, value in fields)


async def parse_multipart(body: bytes, content_type: str) -> Form:
    """Parse a multipart form. Files are refused, because no field accepts one."""

    async def chunks() -> AsyncGenerator[bytes]:
        yield body

    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"").decode("latin-1")
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
