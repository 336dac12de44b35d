"""Persons are filtered by their current properties, those who are asked about and no others."""

import numpy as np
import pytest

from app.db.database import Database
from app.people.persons.service import PersonFilterService
from app.properties.filters import parse_filter
from tests.support.service import Service, event

ON_PRO = parse_filter([{"key": "plan", "type": "person", "value": "pro"}])


@pytest.mark.each_database
async def test_only_persons_who_are_asked_about_are_read(service: Service, database: Database) -> None:
    plans = {"ann": "pro", "bob": "free", "cleo": "pro", "dan": None}
    await service.capture(*(event("visit", name, properties={"$set": {"plan": plan}}) for name, plan in plans.items()))
    ids = {name: (await service.read("/persons/", distinct_id=name))["results"][0]["id"] for name in plans}
    asked = np.array([ids["bob"], ids["ann"], ids["ann"], ids["dan"], 2**40])

    async with database.snapshot() as session:  # rows are streamed, which needs a transaction
        found = await PersonFilterService(session, service.project_id).matching(ON_PRO, asked)

    assert found.tolist() == [ids["ann"]]
