"""How facts are read: in ranges, exactly, and by an index, also on SQLite, which has no statistics of their table."""

import math
from collections.abc import Sequence, Set

import numpy as np
import pytest
from sqlalchemy import text

from app.db.bulk import _template, insert_rows
from app.db.database import Database
from app.db.models import Fact
from app.metrics.facts import series_facts
from app.metrics.facts.columns import WITHOUT_VALUES, Column
from app.metrics.facts.repository import FACT_COLUMNS
from app.metrics.facts.series_facts import SeriesFacts, _query_of_persons, _whole_query

SOUGHT = {
    "of persons": "INDEX ix_fact_person_id_series_id (person_id=? AND series_id=?",
    "since": "PRIMARY KEY (series_id=? AND sequence>? AND sequence<?)",
}
COLUMNS: list[Set[Column]] = [frozenset(), WITHOUT_VALUES, WITHOUT_VALUES | {"value"}]
# 0.1 + 0.2 and the largest double have 17 digits.
VALUES = [None, 0.1 + 0.2, -1e-300, 1.7976931348623157e308, 3.0]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("choice", ["of persons", "since"])
async def test_facts_are_found_by_an_index(database: Database, choice: str) -> None:
    if choice == "since":
        query = _whole_query(choice, WITHOUT_VALUES, (), 1, "sqlite")
    else:
        query = _query_of_persons(WITHOUT_VALUES, 2, "sqlite")
    numbers: dict[str, int | Sequence[int]] = {
        "series": 1,
        "series_0": [1, 2],
        "persons_0": list(range(500)),
        "series_1": [3],
        "persons_1": list(range(400, 700)),
        "since": 0,
        "mark": 2**40,
        "lowest": 1,
    }
    statement = _template(query, "sqlite").statement(numbers)

    async with database.read() as session:
        steps = [step.detail for step in await session.execute(text(f"EXPLAIN QUERY PLAN {statement}"))]

    searches = [step for step in steps if step.startswith(("SEARCH", "SCAN"))]
    assert searches, steps
    assert all(SOUGHT[choice] in step for step in searches), steps


@pytest.mark.own_database
async def test_facts_of_all_ranges_are_read_once_and_exactly(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series_facts, "_FIRST_WIDTH", 4)
    monkeypatch.setattr(series_facts, "_FACTS_OF_A_RANGE", 2)
    sequences = [3, 4, 5, 6, 7, 90, 91, 2**40, 2**40 + 1, 2**40 + 7]
    rows = [
        (series_id, sequence, 2**33 + sequence % 5, -5 + 10**15 * (sequence % 3), VALUES[sequence % 5], 0)
        for series_id in (1, 2)
        for sequence in sequences
    ]
    mark = 2**40 + 1
    async with database.write() as session:
        await insert_rows(session, Fact, FACT_COLUMNS, rows)

    for columns in COLUMNS:
        async with database.snapshot() as session:
            of_two, empty = [
                await SeriesFacts(session, ids, ["control"], columns).since(-5, mark) for ids in ([2, 1], [7])
            ]

        assert [len(one) for one in empty] == [0]
        for found, series_id in zip(of_two, (2, 1), strict=True):
            expected = [row for row in rows if row[0] == series_id and row[1] <= mark]
            order = found.sequence.argsort(kind="stable")
            assert sorted(found.time.tolist()) == sorted(row[3] for row in expected)
            assert set(found.variant.tolist()) == {0}
            assert columns == frozenset() or found.sequence[order].tolist() == [row[1] for row in expected]
            assert columns == frozenset() or found.actor[order].tolist() == [row[2] for row in expected]
            numbers = [math.nan if row[4] is None or "value" not in columns else row[4] for row in expected]
            assert np.array_equal(found.value[order], numbers, equal_nan=True)
