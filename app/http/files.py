"""Flat tables as files, written row by row."""

import csv
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from fastapi.responses import StreamingResponse

from app.common.time_slices import TimeSlices

Format: TypeAlias = Literal["csv", "ndjson"]
Cell: TypeAlias = str | int | float | bool | Sequence[str] | None
Row: TypeAlias = Mapping[str, Cell]

MEDIA_TYPES: Final[Mapping[str, str]] = {"csv": "text/csv", "ndjson": "application/x-ndjson"}
_ROWS_AT_A_TIME: Final = 100
# Spreadsheets take a text that begins so for a formula, and run it.
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def stream_table(name: str, kind: Format, columns: Sequence[str], rows: AsyncIterator[Row]) -> StreamingResponse:
    """Return a response that writes rows as they come; CSV begins with the names of the columns."""
    write = _write_csv(columns, rows) if kind == "csv" else _write_lines(columns, rows)
    return StreamingResponse(
        write,
        media_type=f"{MEDIA_TYPES[kind]}; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}.{kind}"'},
    )


async def _write_csv(columns: Sequence[str], rows: AsyncIterator[Row]) -> AsyncIterator[bytes]:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    async for _ in _in_groups(rows, lambda row: writer.writerow([_as_csv(row.get(name)) for name in columns])):
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()


async def _write_lines(columns: Sequence[str], rows: AsyncIterator[Row]) -> AsyncIterator[bytes]:
    lines: list[str] = []

    def write(row: Row) -> None:
        document = {name: row.get(name) for name in columns}
        lines.append(json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")))

    async for _ in _in_groups(rows, write):
        yield "".join(f"{line}\n" for line in lines).encode()
        lines.clear()


async def _in_groups(rows: AsyncIterator[Row], write: Callable[[Row], object]) -> AsyncIterator[None]:
    """Write rows, and yield after some of them and at the end. Other requests are served between."""
    slices, count = TimeSlices(), 0
    async for row in rows:
        write(row)
        count += 1
        if count % _ROWS_AT_A_TIME == 0:
            yield
        if slices.are_over():
            await slices.pause()
    yield


def _as_csv(cell: Cell) -> str | int | float:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int | float):
        return cell
    text = cell if isinstance(cell, str) else json.dumps(list(cell), ensure_ascii=False)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
