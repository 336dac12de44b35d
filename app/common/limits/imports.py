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
REFUSED_LINES_BYTES: Final = Limit(
    "refused lines of an uploaded file that are kept",
    8 * MIB,
    "bytes",
    "They stay on disk until the import is forgotten. A small file may unpack to many of them.",
    "`refused/` lacks the later ones; `refused` counts them",
)
FILE_IMPORTS: Final = Limit(
    "imports of uploaded files of a project that are remembered",
    100,
    "items",
    "Each may have refused lines on disk, and thousands of counts.",
    "the oldest are forgotten",
)
IMPORTED_BATCHES: Final = Limit(
    "batches of uploaded files that a process looks up or stores at a time, of all projects",
    2,
    "items",
    "Each holds a connection to the database, and more than two imports would leave none to requests.",
    "imports take turns, batch by batch",
)
FREE_DISK_BYTES: Final = Limit(
    "disk that uploads leave free",
    512 * MIB,
    "bytes",
    "The database may be on it.",
    "503 `service_unavailable`",
    "The file cannot be stored: the disk of the service is almost full.",
)
