"""Facts as ClickHouse reads them: rows of fixed width."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.db.bulk import Columns, Row
from app.metrics.facts.repository import FACT_COLUMNS

# Without padding, the lowest byte first.
RECORD: Final = np.dtype(
    [
        *(("project", "<u4"), ("series", "<u4"), ("sequence", "<i8"), ("person", "<i8")),
        *(("time", "<i8"), ("value", "<f8"), ("variant", "<u4")),
    ]
)


def to_records(project_id: int, rows: Sequence[Row]) -> NDArray[np.void]:
    """Return rows of ``FACT_COLUMNS`` as records."""
    records = np.zeros(len(rows), dtype=RECORD)
    records["project"] = project_id
    if rows:
        for name, values in zip(FACT_COLUMNS, zip(*rows, strict=True), strict=True):
            records[name.removesuffix("_id")] = values
    return records


def columns_to_records(project_id: int, series_id: int, columns: Columns) -> NDArray[np.void]:
    """Return facts of one series, as columns of the table ``fact``, as records."""
    records = np.zeros(len(columns["sequence"]), dtype=RECORD)
    records["project"], records["series"] = project_id, series_id
    for name, values in columns.items():
        records[name.removesuffix("_id")] = values
    return records
