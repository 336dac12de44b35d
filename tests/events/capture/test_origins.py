"""The origin of persons and events: ``$initial_*`` and campaign properties of persons, ``$ip`` of events."""

import json
from typing import Any

import pytest

from tests.support.service import Service, event

pytestmark = pytest.mark.one_database

FIRST = {
    "$browser": "Firefox",
    "$browser_version": 107,
    "$device_type": "Desktop",
    "$current_url": "https://example.com/?utm_source=news",
    "$pathname": "/",
    "$os": "Linux",
    "$referring_domain": "search.example",
    "$referrer": "https://search.example/",
    "utm_source": "news",
    "gclid": "one",
    "utm_term": None,
    "utm_content": {"no": "scalar"},
}
INITIAL = {
    "$initial_browser": "Firefox",
    "$initial_browser_version": 107,
    "$initial_device_type": "Desktop",
    "$initial_current_url": "https://example.com/?utm_source=news",
    "$initial_pathname": "/",
    "$initial_os": "Linux",
    "$initial_referring_domain": "search.example",
    "$initial_referrer": "https://search.example/",
    "$initial_utm_source": "news",
    "$initial_gclid": "one",
}


async def person(service: Service, distinct_id: str) -> dict[str, Any]:
    [found] = (await service.read("/persons/", distinct_id=distinct_id))["results"]
    return {name: value for name, value in found["properties"].items() if name != "$creator_event_uuid"}


async def test_person_keeps_his_first_origin_and_his_last_campaign(service: Service) -> None:
    await service.capture(event("$pageview", "ann", properties=FIRST))
    await service.capture(event("$pageview", "ann", properties={**FIRST, "$browser": "Safari", "utm_source": "ad"}))

    assert await person(service, "ann") == {**INITIAL, "utm_source": "ad", "gclid": "one"}


async def test_person_who_came_without_an_origin_gets_the_first_that_is_known(service: Service) -> None:
    await service.capture(event("signed up", "ann", properties={"$set": {"plan": "free"}}))
    await service.capture(*(event("$pageview", "ann", properties={"$os": name}) for name in ("Linux", "macOS")))

    assert await person(service, "ann") == {"plan": "free", "$initial_os": "Linux"}


async def test_client_knows_better_what_was_first_and_no_better_what_is_last(service: Service) -> None:
    sent = {"$set_once": {"$initial_os": "Plan 9"}, "$set": {"utm_source": "old"}, "$os": "Linux", "utm_source": "new"}
    await service.capture(event("$pageview", "ann", properties=sent))

    assert await person(service, "ann") == {
        "$initial_os": "Plan 9",
        "$initial_utm_source": "new",
        "utm_source": "new",
    }


async def test_origin_that_is_sent_again_is_no_news(service: Service) -> None:
    one = event("$pageview", "ann", uuid="00000000-0000-4000-8000-000000000001", properties={"utm_source": "news"})
    await service.capture(one)
    await service.capture(event("$pageview", "ann", properties={"utm_source": "ad"}))

    await service.capture(one)

    assert (await person(service, "ann"))["utm_source"] == "ad"


@pytest.mark.parametrize(
    ("properties", "query", "expected"),
    [
        ("{}", {}, {"$ip": "127.0.0.1"}),
        ('{"a": 1 } ', {"ip": "1"}, {"a": 1, "$ip": "127.0.0.1"}),
        ('{"$ip": "192.0.2.7"}', {}, {"$ip": "192.0.2.7"}),
        ('{"$ip": null}', {}, {"$ip": None}),
        ("{}", {"ip": "0"}, {}),
    ],
)
async def test_event_gets_the_address_it_came_from(
    service: Service, properties: str, query: dict[str, str], expected: dict[str, object]
) -> None:
    body = f'{{"api_key": "{service.token}", "event": "visit", "distinct_id": "ann", "properties": {properties}}}'

    response = await service.client.post("/e/", content=body, params=query)

    assert response.status_code == 200, response.text
    [stored] = (await service.read("/events/"))["results"]
    assert stored["properties"] == expected


async def test_project_may_do_without_addresses(service: Service) -> None:
    await service.patch("/", {"anonymize_ips": True})

    await service.capture(event("visit", "ann"), event("visit", "ann", properties={"$ip": "192.0.2.7"}))

    page = await service.read("/events/")
    assert [one["properties"] for one in reversed(page["results"])] == [{}, {"$ip": "192.0.2.7"}]


async def test_address_stands_beside_groups(service: Service) -> None:
    await service.capture(event("visit", "ann", properties={"$groups": {"company": "acme"}}))

    [stored] = (await service.read("/events/"))["results"]
    assert stored["properties"] == {"$groups": {"company": "acme"}, "$group_0": "acme", "$ip": "127.0.0.1"}


@pytest.mark.parametrize("value", ['"\\ud800"', "1e400", "9" * 400, '"\\u0000"', "[[1]]"])
async def test_hostile_origin_causes_no_server_error(service: Service, value: str) -> None:
    properties = f'{{"$browser": {value}, "utm_source": {value}}}'
    body = f'{{"api_key": "{service.token}", "event": "visit", "distinct_id": "ann", "properties": {properties}}}'

    response = await service.client.post("/capture/", content=body)

    assert response.status_code == 200, response.text
    assert json.dumps(await person(service, "ann"))
