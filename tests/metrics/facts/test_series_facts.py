"""How SQLite finds facts, which has no statistics of their table."""

from collections.abc import Sequence

import pytest

from app.db.bulk import _as_texts
from app.db.compiled_queries import driver_of, statement_of
from app.db.database import Database
from app.metrics.facts.columns import WITHOUT_VALUES
from app.metrics.facts.series_facts import _facts_query

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

SOUGHT = {
    "of persons": "INDEX ix_fact_person_id_series_id (person_id=? AND series_id=?",
    "since": "PRIMARY KEY (series_id=? AND sequence>? AND sequence<?)",
}


@pytest.mark.parametrize("choice", ["of persons", "since"])
@pytest.mark.parametrize("are_several", [False, True])
async def test_facts_are_found_by_an_index(database: Database, choice: str, are_several: bool) -> None:
    query = _as_texts(_facts_query(choice, WITHOUT_VALUES, (), 1, "sqlite", are_several=are_several))
    parameters: dict[str, int | Sequence[int]] = {
        "series": [1, 2][: 1 + are_several],
        "persons": list(range(500)),
        "since": 0,
        "watermark": 0,
        "mark": 2**40,
    }

    async with database.read() as session:
        statement, values = statement_of(query, parameters, database.engine.dialect)
        driver = await driver_of(session)
        steps = await driver.execute_fetchall(f"EXPLAIN QUERY PLAN {statement}", values)

    assert any(SOUGHT[choice] in step[-1] for step in steps), [step[-1] for step in steps]
