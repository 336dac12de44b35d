"""Events whose time cannot be read are stored, and are not hidden."""

import datetime as dt
from typing import Any

import pytest

from app.common.timestamps import write_moment
from app.telemetry.prometheus import UNREAD_TIMESTAMPS
from tests.support.service import TREND, Service, event


async def sent(service: Service, **members: Any) -> Any:
    await service.capture({**event("visit", "ann"), **members})
    return (await service.read("/events/"))["results"][0]


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"timestamp": "yesterday"}, "yesterday"),
        ({"timestamp": "0001-01-01T00:00:00Z"}, "0001-01-01T00:00:00Z"),
        ({"timestamp": "99999-01-01T00:00:00Z"}, "99999-01-01T00:00:00Z"),
        ({"timestamp": -5}, "-5"),
        ({"timestamp": True}, "true"),
        ({"timestamp": {"at": 1}}, '{"at": 1}'),
        ({"timestamp": None, "offset": "later"}, "later"),
        ({"timestamp": None, "offset": 10**30}, f"{10**30}"),
        ({"timestamp": "x" * 300}, "x" * 200),
    ],
)
async def test_time_that_cannot_be_read_is_kept_as_a_property(
    service: Service, members: dict[str, Any], text: str
) -> None:
    before = dt.datetime.now(dt.UTC)

    stored = await sent(service, **members)

    assert stored["properties"]["$unread_timestamp"] == text
    assert dt.datetime.fromisoformat(stored["timestamp"]) >= before


@pytest.mark.one_database
@pytest.mark.parametrize(
    "members",
    [
        {"timestamp": "2022-11-02T10:00:00Z"},
        {"timestamp": None},
        {"timestamp": ""},
        {"timestamp": " ", "offset": 5},
        {"timestamp": "yesterday", "offset": 5},  # the offset says when
        {"timestamp": None, "offset": "5"},
        {"timestamp": None, "properties": {"time": 1667383200, "timestamp": "2022-11-02T10:00:00Z"}},
    ],
)
async def test_event_whose_time_is_known_or_not_stated_has_no_such_property(
    service: Service, members: dict[str, Any]
) -> None:
    assert "$unread_timestamp" not in (await sent(service, **members))["properties"]


TYPED = {"metric_type": "mean", "source": {"kind": "EventsNode", "event": "$pageview"}}


@pytest.mark.parametrize(
    "metric", [{"filters": TREND}, {"filters": {}, "metrics": [TYPED]}, {"filters": {}}], ids=["2022", "typed", "saved"]
)
async def test_unread_times_are_counted_and_shown_by_health(service: Service, metric: dict[str, Any]) -> None:
    started = write_moment(dt.datetime.now(dt.UTC) - dt.timedelta(hours=1))
    if metric == {"filters": {}}:
        saved = await service.post("/experiment_saved_metrics/", {"name": "Views", "query": TYPED})
        metric = {**metric, "saved_metrics_ids": [{"id": saved.json()["id"]}]}
    experiment = await service.create_experiment(start_date=started, end_date=None, **metric)
    before = UNREAD_TIMESTAMPS._value.get()
    bad = event("$pageview", "ann", "tomorrow", variant="test", uuid="00000000-0000-4000-8000-000000000001")
    other = event("unrelated", "ann", "tomorrow")
    for batch in ([bad, other], [bad]):  # once more, which changes nothing
        await service.capture(*batch)

    report = await service.read(f"/experiments/{experiment['id']}/health/")

    [finding] = [one for one in report["findings"] if one["code"] == "TIMESTAMPS_UNREAD"]
    assert (finding["severity"], finding["evidence"]) == ("warning", {"events": 1})
    assert UNREAD_TIMESTAMPS._value.get() - before == 2
