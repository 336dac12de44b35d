"""Limits of imported files."""

from typing import Final

from app.common.limits.limit import MIB, Limit

IMPORTED_LINE_BYTES: Final = Limit(
    "line of a file that `abacus import` reads",
    2 * MIB,
    "bytes",
    "It holds one event, of which this is twice the limit, or one person.",
    "the line is refused by its number; the others are imported",
    "The line is longer than {value} bytes.",
)
UPLOADED_FILE_BYTES: Final = Limit(
    "file that is uploaded to be imported",
    2048 * MIB,
    "bytes",
    "It is written to disk as it comes. `abacus import` reads larger ones where they are.",
    "413 `request_too_large`",
    "The request body is larger than {value} bytes.",
)
