"""What an import tells of its progress: written as JSON with the import, and shown as it is."""

import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path

from app.common.timestamps import from_microseconds, write_moment
from app.events.imports.files import SourceFile


def write_progress(file: SourceFile, name: str, shares: Sequence[float | None], seconds: float) -> str:
    """Return the progress of an import as JSON.

    ``shares`` of the file had been read when the import began, or was resumed, and are now, ``seconds`` later.
    """
    counts = file.counts
    path = Path(file.name)
    told = {
        "files": [
            {
                "name": name,
                "sha256": file.sha256,
                "bytes": path.stat().st_size if path.exists() else 0,
                "offset": file.position,
                "lines": counts.lines,
                "imported": counts.imported,
                "duplicates": counts.duplicates,
                "skipped": counts.skipped,
                "refused": counts.refused,
            }
        ],
        "first_timestamp": _moment(counts.first),
        "last_timestamp": _moment(counts.last),
        "events_per_second": round((counts.lines - file.lines_before) / seconds) if seconds else None,
        "eta": _eta(shares, seconds),
        "events": [
            {"event": event, "day": day, "events": number} for (event, day), number in sorted(counts.events.items())
        ],
    }
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


def _moment(time: int | None) -> str | None:
    return None if time is None else write_moment(from_microseconds(time))


def _eta(shares: Sequence[float | None], seconds: float) -> str | None:
    first, now = shares
    if first is None or now is None or now <= first:
        return None
    return write_moment(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=(1 - now) / (now - first) * seconds))
