from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from tests.support.service import Service


@pytest.mark.one_database
async def test_all_experiments_are_listed_newest_first(service: Service) -> None:
    draft = await service.create_experiment(feature_flag_key="draft", start_date=None, end_date=None)
    running = await service.create_experiment(feature_flag_key="running", end_date=None)
    archived = await service.create_experiment(feature_flag_key="archived", archived=True)

    assert await service.read("/experiments/") == {
        "count": 3,
        "next": None,
        "previous": None,
        "results": [archived, running, draft],
    }


@pytest.mark.one_database
async def test_empty_project_has_an_empty_list(service: Service) -> None:
    assert await service.read("/experiments/") == {"count": 0, "next": None, "previous": None, "results": []}


@pytest.fixture(scope="module")
def prepared() -> dict[tuple[str, str], Service]:
    """Projects that tests of this module only read, by database and what is in them."""
    return {}


@pytest.fixture
async def with_three(service: Service, database_url: str, prepared: dict[tuple[str, str], Service]) -> Service:
    if known := prepared.get((database_url, "three")):
        return replace(known, client=service.client)
    for number in range(3):
        await service.create_experiment(feature_flag_key=f"flag-{number}")
    prepared[database_url, "three"] = service
    return service


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("query", "keys", "following", "previous"),
    [
        ("limit=2", [2, 1], "limit=2&offset=2", None),
        ("limit=2&offset=2", [0], None, "limit=2"),
        ("limit=1&offset=2", [0], None, "limit=1&offset=1"),
        ("offset=2", [0], None, "limit=100"),
        ("limit=3", [2, 1, 0], None, None),
        ("limit=2&offset=100", [], None, "limit=2&offset=98"),
        ("limit=0", [2, 1, 0], None, None),
        ("limit=-1&offset=-1", [2, 1, 0], None, None),
        ("limit=two&offset=1.5", [2, 1, 0], None, None),
        ("limit=99999999999999999999", [2, 1, 0], None, None),
        ("limit=1&offset=99999999999999999999", [], None, "limit=1&offset=2147483646"),
        (f"limit={'9' * 5000}&offset={'9' * 5000}", [2, 1, 0], None, None),
        ("z=%2F+x&limit=2&a=2&a=1&b=", [2, 1], "a=2&a=1&b=&limit=2&offset=2&z=%2F+x", None),
        ("limit=2&personal_api_key=phx_secret", [2, 1], "limit=2&offset=2", None),
    ],
)
async def test_pages_are_linked_by_the_address_as_it_was_asked_for(
    with_three: Service, query: str, keys: list[int], following: str | None, previous: str | None
) -> None:
    response = await with_three.request("GET", f"/experiments?{query}")

    page = response.json()
    address = f"http://abacus.test{with_three.project}/experiments?"
    assert page["count"] == 3
    assert [item["feature_flag_key"] for item in page["results"]] == [f"flag-{key}" for key in keys]
    assert page["next"] == (following and address + following)
    assert page["previous"] == (previous and address + previous)


@pytest.mark.one_database
@pytest.mark.parametrize("path", ["/api/projects/@current/experiments/", "/api/projects/@current/experiments"])
async def test_following_the_links_meets_every_experiment_once(with_three: Service, path: str) -> None:
    met: list[str] = []
    address: str | None = f"http://abacus.test{path}?limit=1"
    while address is not None:
        response = await with_three.client.get(address, headers={"Authorization": f"Bearer {with_three.key}"})
        met += [item["feature_flag_key"] for item in response.json()["results"]]
        address = response.json()["next"]
        assert address is None or urlsplit(address).path == path

    assert met == ["flag-2", "flag-1", "flag-0"]


@pytest.mark.one_database
@pytest.mark.parametrize("host", [b"[", b"a b", b"abacus.test:port", b"\xff", b"x" * 5000])
async def test_links_ignore_an_invalid_host_header(with_three: Service, host: bytes) -> None:
    headers = {b"Authorization": f"Bearer {with_three.key}".encode(), b"Host": host}

    response = await with_three.client.get(f"{with_three.project}/experiments/?limit=1", headers=headers)

    assert (response.status_code, response.json()["code"]) == (400, "invalid_host")


@pytest.fixture
async def of_all_kinds(service: Service, database_url: str, prepared: dict[tuple[str, str], Service]) -> Service:
    if known := prepared.get((database_url, "all kinds")):
        return replace(known, client=service.client)
    await service.create_experiment(feature_flag_key="b-draft", name="Büttons 100%", start_date=None, end_date=None)
    await service.create_experiment(feature_flag_key="a-running", name="buttons_2", end_date=None)
    await service.create_experiment(feature_flag_key="d-ended", name="Checkout", end_date="2022-11-02T00:00:00Z")
    await service.create_experiment(feature_flag_key="c-archived", name="BUTTONS", archived=True)
    prepared[database_url, "all kinds"] = service
    return service


ALL = ["c-archived", "d-ended", "a-running", "b-draft"]


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("", ALL),
        ("status=draft", ["b-draft"]),
        ("status=RUNNING", ["a-running"]),
        ("status=complete", ["c-archived", "d-ended"]),
        ("status=all", ALL),
        ("status=nonsense&archived=maybe&created_by_id=me&order=color&search=", ALL),
        ("archived=true", ["c-archived"]),
        ("archived=false", ["d-ended", "a-running", "b-draft"]),
        ("search=button", ["c-archived", "a-running"]),
        ("search=B%C3%9CTTONS", ["b-draft"]),
        ("search=s_2", ["a-running"]),
        ("search=%25", ["b-draft"]),
        ("search=nothing", []),
        ("created_by_id=ME", ALL),
        ("created_by_id=1", []),
        ("created_by_id=99999999999", []),
        ("order=created_at", ALL[::-1]),
        ("order=-created_at", ALL),
        ("order=start_date", ["c-archived", "d-ended", "a-running", "b-draft"]),
        ("order=-end_date", ["c-archived", "d-ended", "a-running", "b-draft"]),
        ("order=duration", ["d-ended", "c-archived", "a-running", "b-draft"]),
        ("order=-duration", ["a-running", "c-archived", "d-ended", "b-draft"]),
        ("order=status", ["b-draft", "a-running", "c-archived", "d-ended"]),
        ("order=-status&archived=false", ["d-ended", "a-running", "b-draft"]),
        ("status=complete&archived=false&search=CHECK", ["d-ended"]),
    ],
)
async def test_list_can_be_filtered_and_ordered(of_all_kinds: Service, query: str, keys: list[str]) -> None:
    creator = (await of_all_kinds.read("/experiments/"))["results"][0]["created_by"]["id"]

    response = await of_all_kinds.request("GET", f"/experiments/?{query.replace('ME', str(creator))}")

    assert [item["feature_flag_key"] for item in response.json()["results"]] == keys
    assert response.json()["count"] == len(keys)


async def test_links_of_a_filtered_list_keep_the_filter(of_all_kinds: Service) -> None:
    page = await of_all_kinds.read("/experiments/", status="complete", limit="1", order="name")

    assert page["next"].endswith("?limit=1&offset=1&order=name&status=complete")


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("query", "warning"),
    [
        ("status=ALL&archived=TRUE&created_by_id=1&order=-name&search=x", None),
        ("status=&archived=&order=&created_by_id=", None),
        ("status=finished", "status 'finished'"),
        (
            "status=nonsense&archived=maybe&created_by_id=me&order=color",
            "status 'nonsense', archived 'maybe', created_by_id 'me', order 'color'",
        ),
    ],
)
async def test_unknown_values_of_filters_are_reported(service: Service, query: str, warning: str | None) -> None:
    answer = await service.request("GET", f"/experiments/?{query}")

    expected = warning and f'199 - "Ignored unknown values of query parameters: {warning}."'
    assert (answer.status_code, answer.headers.get("Warning")) == (200, expected)
