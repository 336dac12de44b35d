"""Repeated answers: the same bytes while nothing is new, and the right figures as soon as anything is."""

import pytest

from app.metrics.facts.materializer import Materializer
from tests.support.service import FUNNEL, Service, event, exposure

pytestmark = [pytest.mark.one_database, pytest.mark.clickhouse]

NOON = "2022-11-02T12:00:00Z"


async def send(service: Service, variant: str, first: int, count: int) -> None:
    names = [f"{variant}-{number}" for number in range(first, first + count)]
    await service.capture(
        *(exposure(name, variant) for name in names),
        *(event(step, name, NOON, variant=variant) for step in ("$pageview", "purchase") for name in names),
    )


async def entered(service: Service, path: str) -> dict[str, int]:
    body = await service.read(path)
    return {funnel[0]["breakdown_value"][0]: funnel[0]["count"] for funnel in body["insight"]}


@pytest.mark.parametrize("end", ["2022-11-15T00:00:00Z", None], ids=["ended", "running"])
async def test_an_answer_is_repeated_without_counting_until_an_event_is_new(
    service: Service, end: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = await service.create_experiment(end_date=end)
    path = f"/experiments/{experiment['id']}/results/"
    for variant in ("control", "test"):
        await send(service, variant, 0, 20)
    first = await service.get(path)
    await service.capture(event("another", "control-1", NOON))

    with monkeypatch.context() as patched:
        if end is not None:  # a running experiment may be counted again, if a minute ends here
            patched.delattr(Materializer, "catch_up")
        second = await service.get(path)
        unchanged = await service.request("GET", path, headers={"If-None-Match": first.headers["etag"]})
    await send(service, "test", 20, 5)

    assert (second.content, second.headers["etag"]) == (first.content, first.headers["etag"])
    assert unchanged.status_code == 304
    assert await entered(service, path) == {"control": 20, "test": 25}


async def test_an_answer_follows_merges_changes_of_the_flag_and_of_actions(service: Service) -> None:
    action = await service.post("/actions/", {"name": "Visit", "steps": [{"event": "$pageview"}]})
    steps = {**FUNNEL, "events": FUNNEL["events"][1:], "actions": [{"id": action.json()["id"], "order": 0}]}
    by_action = await service.create_experiment(filters=steps, end_date="2022-11-14T00:00:00Z")
    plain = await service.create_experiment(allow_existing_flag=True)
    paths = [f"/experiments/{one['id']}/results/" for one in (by_action, plain)]
    for variant in ("control", "test"):
        await send(service, variant, 0, 20)
    before = [await entered(service, path) for path in paths]

    await service.capture(event("$identify", "test-1", NOON, properties={"$anon_distinct_id": "test-2"}))
    merged = [await entered(service, path) for path in paths]
    await service.patch(f"/actions/{action.json()['id']}/", {"steps": [{"event": "$pageleave"}]})
    changed = await service.get(paths[0])

    assert before == [{"control": 20, "test": 20}] * 2
    assert merged == [{"control": 20, "test": 19}] * 2
    assert changed.json()["code"] == "no_data"
