from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, event

from tests.flags.test_creating import created
from tests.support.service import Service

pytestmark = pytest.mark.one_database


async def test_living_flags_are_listed_newest_first(service: Service) -> None:
    plain = await created(service, key="plain")
    experiment = await service.create_experiment()
    await created(service, key="deleted", deleted=True)
    inactive = await created(service, key="inactive", active=False)

    behind = await service.read(f"/feature_flags/{experiment['feature_flag']}/")
    assert behind["experiment_set"] == [experiment["id"]]
    assert await service.read("/feature_flags/") == {
        "count": 3,
        "next": None,
        "previous": None,
        "results": [inactive, behind, plain],
    }


@pytest.mark.parametrize(
    ("query", "keys", "following", "previous"),
    [
        ("limit=2", [2, 1], "limit=2&offset=2", None),
        ("limit=2&offset=2", [0], None, "limit=2"),
        ("limit=0&offset=-1", [2, 1, 0], None, None),
        ("limit=2&personal_api_key=phx_secret&a=%2F", [2, 1], "a=%2F&limit=2&offset=2", None),
        ("limit=1&offset=99999999999999999999", [], None, "limit=1&offset=2147483646"),
    ],
)
async def test_pages_are_linked_as_those_of_experiments(
    service: Service, query: str, keys: list[int], following: str | None, previous: str | None
) -> None:
    for number in range(3):
        await created(service, key=f"flag-{number}")

    page = (await service.request("GET", f"/feature_flags?{query}")).json()

    address = f"http://abacus.test{service.project}/feature_flags?"
    assert page["count"] == 3
    assert [flag["key"] for flag in page["results"]] == [f"flag-{key}" for key in keys]
    assert page["next"] == (following and address + following)
    assert page["previous"] == (previous and address + previous)


@contextmanager
def counted() -> Iterator[list[str]]:
    """Collect the statements that are sent to any database meanwhile."""
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield statements
    event.remove(Engine, "before_cursor_execute", note)


async def test_longer_list_takes_no_more_queries(service: Service) -> None:
    await service.create_experiment(feature_flag_key="first")
    await service.read("/feature_flags/")
    with counted() as for_one:
        await service.read("/feature_flags/")
    for number in range(5):
        await service.create_experiment(feature_flag_key=f"flag-{number}")

    with counted() as for_six:
        page = await service.read("/feature_flags/")

    assert [len(flag["experiment_set"]) for flag in page["results"]] == [1] * 6
    assert len(for_six) == len(for_one)


@pytest.mark.each_database
@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("search=CHECK", ["old-checkout", "checkout"]),
        ("search=basket", ["checkout"]),  # in the name
        ("search=%25", []),
        ("active=true", ["banner", "checkout"]),
        ("active=false", ["old-checkout"]),
        ("active=false&search=banner", []),
        ("active=&search=", ["banner", "old-checkout", "checkout"]),
    ],
)
async def test_flags_are_found_by_search_and_by_activity(service: Service, query: str, keys: list[str]) -> None:
    await created(service, key="checkout", name="The basket")
    await created(service, key="old-checkout", active=False)
    await created(service, key="banner")

    page = await service.read(f"/feature_flags/?{query}")

    assert ([flag["key"] for flag in page["results"]], page["count"]) == (keys, len(keys))


async def test_activity_that_is_neither_true_nor_false_is_refused(service: Service) -> None:
    refused = await service.get("/feature_flags/?active=STALE")

    assert (refused.status_code, refused.json()["attr"]) == (400, "active")
