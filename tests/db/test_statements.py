"""How many SQL statements each request of the private API makes, for any number of rows."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, TypeAlias

import httpx
import pytest
from sqlalchemy import Connection, Select, event

from app.db.database import Database
from tests.support.service import Service
from tests.support.service import event as sent

pytestmark = pytest.mark.own_database

Request: TypeAlias = Callable[[Service], Awaitable[httpx.Response]]


_IS_COUNTED: ContextVar[bool] = ContextVar("is_counted", default=False)  # not set in tasks of the background


class Statements:
    """The statements that requests made, with those that begin and end transactions left out."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def note(self, _connection: Connection, _cursor: object, statement: str, *_others: object) -> None:
        if _IS_COUNTED.get() and not statement.startswith(("BEGIN", "SAVEPOINT", "RELEASE")):
            self.made.append(statement)

    async def cost(self, request: Awaitable[httpx.Response]) -> int:
        """Return how many statements a request makes, which has to succeed."""
        self.made.clear()
        token = _IS_COUNTED.set(True)
        try:
            response = await request
        finally:
            _IS_COUNTED.reset(token)
        assert response.is_success, response.text
        return len(self.made)


@pytest.fixture
def statements(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Statements]:
    statements = Statements()
    engines = [database.engine.sync_engine, database.reading_engine.sync_engine]
    for engine in engines:
        event.listen(engine, "before_cursor_execute", statements.note)
    fetch = database.fetch

    async def noted(query: Select[*tuple[Any, ...]], parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        if _IS_COUNTED.get():
            statements.made.append(str(query))  # it goes past the events of SQLAlchemy
        return await fetch(query, parameters)

    monkeypatch.setattr(database, "fetch", noted)
    yield statements
    for engine in engines:
        event.remove(engine, "before_cursor_execute", statements.note)


# The first statement of each finds key, user, project and membership.
COSTS: Mapping[str, tuple[Request, int]] = {
    "an experiment": (lambda service: service.get("/experiments/1/"), 2),
    "all experiments": (lambda service: service.get("/experiments/"), 3),  # access, the sizes, the page
    "a page of experiments that more follow": (lambda service: service.get("/experiments/", limit=2), 4),
    "a new experiment": (
        lambda service: service.post(
            "/experiments/", {"name": "New", "feature_flag_key": "new", "filters": {"insight": "TRENDS"}}
        ),
        8,  # is the key taken?, the flag and its activity, the experiment and its activity, webhooks, the answer
    ),
    "a change": (
        lambda service: service.patch("/experiments/1/", {"name": "Other"}),
        8,
    ),  # is it there?, lock, change, the verdict, log, webhooks, answer
    "a change of an experiment known by its tag": (
        lambda service: service.request("PATCH", "/experiments/1/", json={"name": "Other"}, headers={"If-Match": "*"}),
        9,
    ),
    "a deletion": (lambda service: service.delete("/experiments/1/"), 9),
    "a flag": (lambda service: service.get("/feature_flags/1/"), 3),
    "all flags": (lambda service: service.get("/feature_flags/"), 5),
    "the project": (lambda service: service.get("/"), 2),
}


@pytest.mark.parametrize("name", COSTS)
async def test_request_makes_the_number_of_statements_in_the_table(
    service: Service, statements: Statements, name: str
) -> None:
    for number in range(5):
        await service.create_experiment(feature_flag_key=f"flag-{number}")

    request, cost = COSTS[name]

    assert await statements.cost(request(service)) == cost, statements.made


@pytest.mark.parametrize("path", ["/experiments/", "/feature_flags/"])
async def test_number_of_statements_of_a_list_does_not_depend_on_its_length(
    service: Service, statements: Statements, path: str
) -> None:
    await service.create_experiment(feature_flag_key="flag")
    of_one = await statements.cost(service.get(path))
    for number in range(5):
        await service.create_experiment(feature_flag_key=f"flag-{number}")

    assert await statements.cost(service.get(path)) == of_one


async def test_number_of_statements_of_results_does_not_depend_on_their_number(
    service: Service, statements: Statements
) -> None:
    experiment = await service.create_experiment()
    path = f"/experiments/{experiment['id']}/results/"
    of_new, of_known = [], []
    for persons in (range(2), range(2, 4), range(4, 40)):
        await service.capture(*(sent("$pageview", f"person-{n}", variant=["control", "test"][n % 2]) for n in persons))
        of_new.append(await statements.cost(service.get(path)))
        of_known.append(await statements.cost(service.get(path)))

    assert of_new[1] == of_new[2], statements.made
    assert of_known == [3, 3, 3], statements.made
