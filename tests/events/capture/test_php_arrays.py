"""What PHP writes for an empty object, and where in a batch the bad event is."""

from typing import Any

import pytest

from tests.support.service import Service, event


@pytest.mark.parametrize("empty", [None, [], {}])
async def test_null_and_an_empty_list_are_no_properties(service: Service, empty: object) -> None:
    said = {"$set": empty, "$set_once": empty, "$unset": empty, "$groups": empty}
    described = {"$group_type": "company", "$group_key": "acme", "$group_set": empty}
    bare: list[dict[str, Any]] = [
        {"event": name, "distinct_id": "ann", "properties": empty, "$set": empty, "$set_once": empty}
        for name in ("visit", "$identify", "$create_alias", "$set")
    ]
    await service.capture(*bare, event("said", "ann", properties=said))
    await service.capture(event("$groupidentify", "ann", properties=described))
    for one in bare:
        response = await service.client.post("/capture/", json={**one, "api_key": service.token})
        assert response.status_code == 200, response.text

    assert len((await service.read("/events/"))["results"]) == 10
    [ann] = (await service.read("/persons/"))["results"]
    assert ann["properties"].keys() == {"$creator_event_uuid"}


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("bad", "field", "detail"),
    [
        ({"distinct_id": ""}, "distinct_id", 'Event field "distinct_id" should not be blank!'),
        ({"distinct_id": None, "event": "v"}, "distinct_id", 'Event field "distinct_id" should not be blank!'),
        ({"properties": {"distinct_id": ""}}, "properties.distinct_id", "should not be blank!"),
        ({"properties": "text"}, "properties", "Properties must be a JSON object, received str!"),
        ({"properties": [1]}, "properties", "Properties must be a JSON object, received list!"),
        ({"uuid": "7"}, "uuid", 'Event field "uuid" is not a valid UUID!'),
        ({"event": ["x" * 20_000]}, "event", "is larger than"),
        (
            {"event": "$snapshot"},
            "properties.$snapshot_data",
            '$snapshot events must contain property "$snapshot_data"',
        ),
    ],
)
async def test_refusal_names_the_event_and_the_field(
    service: Service, bad: dict[str, Any], field: str, detail: str
) -> None:
    events = [event("good", "ann"), {**event("bad", "ann"), **bad}, event("good", "ann")]

    in_batch = await service.send(events)
    in_list = await service.client.post("/e/", json=[{**one, "api_key": service.token} for one in events])
    alone = await service.client.post("/capture/", json={**events[1], "api_key": service.token})

    assert [one.status_code for one in (in_batch, in_list, alone)] == [400, 400, 400]
    assert [one.json()["attr"] for one in (in_batch, in_list, alone)] == [f"batch[1].{field}", f"[1].{field}", field]
    assert all(detail in one.json()["detail"] for one in (in_batch, in_list, alone))
    assert in_batch.json()["detail"].endswith(f" (batch[1].{field})")
    assert not alone.json()["detail"].endswith(")")
    assert (await service.read("/events/"))["results"] == []
