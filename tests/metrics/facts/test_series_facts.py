"""How SQLite finds facts, which has no statistics of their table."""

from collections.abc import Sequence

import pytest
from sqlalchemy import text

from app.db.bulk import _template
from app.db.database import Database
from app.metrics.facts.columns import WITHOUT_VALUES
from app.metrics.facts.series_facts import _query

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.mark.parametrize("are_several", [False, True])
async def test_facts_of_persons_are_found_without_reading_their_series(database: Database, are_several: bool) -> None:
    query = _query("of persons", WITHOUT_VALUES, "sqlite")
    numbers: dict[str, int | Sequence[int]] = {
        "series": [1, 2][: 1 + are_several],
        "persons": list(range(500)),
        "since": 0,
        "mark": 2**40,
    }
    statement = _template(query, "sqlite").statement(numbers)

    async with database.read() as session:
        [step] = (await session.execute(text(f"EXPLAIN QUERY PLAN {statement}"))).all()

    assert "ix_fact_person_id_series_id (person_id=? AND series_id=?" in step.detail
