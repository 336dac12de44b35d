"""Exposures, and how every exposure event is counted."""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.common.timestamps import to_microseconds
from app.metrics.aggregation.calendar import Window, ticks
from app.metrics.aggregation.exposures import ExposureCounts, count_exposures, evaluations
from app.metrics.aggregation.ledger import Ledger
from app.metrics.facts.columns import FactColumns
from tests.support.service import TREND, Service, event, exposure

pytestmark = [pytest.mark.one_database, pytest.mark.clickhouse]

DAYS = ["2022-11-01", "2022-11-02", "2022-11-03"]


async def exposures_of(service: Service, *events: dict[str, object], interval: str = "day", **fields: Any) -> Any:
    fields = {"end_date": "2022-11-03T12:00:00Z", **fields}
    experiment = await service.create_experiment(**fields)
    await service.capture(*events)
    return await service.read(f"/experiments/{experiment['id']}/exposures/", interval=interval)


def series(body: Any) -> dict[str, list[int]]:
    return {one["variant"]: one["exposure_counts"] for one in body["timeseries"]}


async def test_person_counts_once_on_the_day_of_the_first_exposure(service: Service) -> None:
    body = await exposures_of(
        service,
        exposure("ann", "control", "2022-11-02T09:00:00Z"),
        exposure("ann", "control", "2022-11-03T09:00:00Z"),
        exposure("bob", "control", "2022-11-03T09:00:00Z"),
        exposure("cleo", "test", "2022-11-01T00:00:00Z"),
    )

    assert body["total_exposures"] == {"control": 2, "test": 1, "$multiple": 0}
    assert series(body) == {"control": [0, 1, 1], "test": [1, 0, 0], "$multiple": [0, 0, 0]}
    assert body["timeseries"][0]["days"] == DAYS
    assert body["exposure"] == {
        "event": "$feature_flag_called",
        "variant_property": "$feature_flag_response",
        "filters_test_accounts": False,
    }
    assert body["date_range"] == {
        "date_from": "2022-11-01T00:00:00+00:00",
        "date_to": "2022-11-03T12:00:00+00:00",
        "timezone": "UTC",
    }


async def test_persons_in_several_variants_are_not_analyzed(service: Service) -> None:
    body = await exposures_of(
        service,
        exposure("ann", "control", "2022-11-02T09:00:00Z"),
        exposure("ann", "test", "2022-11-03T09:00:00Z"),
        exposure("bob", "test", "2022-11-03T09:00:00Z"),
    )

    assert body["total_exposures"] == {"control": 0, "test": 1, "$multiple": 1}
    assert series(body)["$multiple"] == [0, 1, 0]


async def test_every_event_and_every_person_is_accounted_for(service: Service) -> None:
    body = await exposures_of(
        service,
        exposure("early", "test", "2022-10-31T23:59:59Z"),
        exposure("ann", "control"),
        exposure("ann", "control", "2022-11-03T12:00:01Z"),
        exposure("bob", "removed"),
        event("$feature_flag_called", "bob", properties={"$feature_flag": "checkout"}),
        exposure("cleo", "test"),
        exposure("cleo", "control"),
        exposure("dan", "test", flag="another"),
    )

    assert body["accounting"] == {
        "exposure_events": 7,
        "outside_window": 2,
        "test_accounts": 0,
        "missing_variant": 1,
        "unknown_variant": 1,
        "with_variant": 3,
        "persons_seen": 3,
        "persons_without_variant": 1,
        "not_activated": 0,
        "multiple_variants": 1,
        "analysed": 1,
        "without_group": 0,
        "holdout": 0,
        "holdout_events": 0,
    }
    assert (body["unit"], body["lost_variants"]) == ("persons", {})


async def test_persons_who_were_not_activated_are_accounted_for(service: Service) -> None:
    body = await exposures_of(
        service,
        exposure("ann", "control"),
        exposure("ann", "test"),
        exposure("bob", "test"),
        event("opened", "bob", "2022-11-02T10:00:00Z"),
        exposure("cleo", "test"),
        exposure("dan", "removed"),
        exposure_criteria={"activation_config": {"kind": "ExperimentEventExposureConfig", "event": "opened"}},
    )

    persons = {name: body["accounting"][name] for name in ("persons_without_variant", "not_activated", "analysed")}
    assert persons == {"persons_without_variant": 1, "not_activated": 2, "analysed": 1}
    assert body["accounting"]["persons_seen"] == 4


async def test_test_accounts_are_left_out_and_counted(service: Service) -> None:
    filters = [{"key": "$host", "value": "localhost", "operator": "is_not", "type": "event"}]
    await service.request("PATCH", "/", json={"test_account_filters": filters})
    local = exposure("tester", "test")
    local["properties"] = {**local["properties"], "$host": "localhost"}  # type: ignore[dict-item]  # a mapping

    body = await exposures_of(
        service, exposure("ann", "control"), local, filters={**TREND, "filter_test_accounts": True}
    )

    assert body["exposure"]["filters_test_accounts"]
    assert (body["accounting"]["exposure_events"], body["accounting"]["test_accounts"]) == (2, 1)
    assert (body["accounting"]["persons_seen"], body["total_exposures"]["test"]) == (1, 0)


@pytest.mark.parametrize("name", ["$feature_flag_called", "$experiment_exposure"])
async def test_conditions_on_the_events_of_sdks_narrow_exposure(service: Service, name: str) -> None:
    condition = {"key": "page", "value": "checkout"}
    config = {"kind": "ExperimentEventExposureConfig", "event": name, "properties": [condition]}
    seen = [exposure(person, "test") for person in ("ann", "bob")]
    seen[0]["properties"] = {**seen[0]["properties"], "page": "checkout"}  # type: ignore[dict-item]  # a mapping

    body = await exposures_of(service, *seen, exposure_criteria={"exposure_config": config})

    assert body["total_exposures"] == {"control": 0, "test": 1, "$multiple": 0}
    assert body["exposure"]["variant_property"] == "$feature_flag_response"


async def test_custom_exposure_filter_defines_exposure(service: Service) -> None:
    custom = {"insight": "TRENDS", "events": [{"id": "checkout opened", "type": "events"}]}

    body = await exposures_of(
        service,
        exposure("ann", "control"),
        event("checkout opened", "bob", variant="test"),
        parameters={"custom_exposure_filter": custom},
    )

    assert body["exposure"]["event"] == "checkout opened"
    assert body["exposure"]["variant_property"] == "$feature/checkout"
    assert body["total_exposures"] == {"control": 0, "test": 1, "$multiple": 0}


async def test_new_exposures_are_added_to_stored_counts(service: Service) -> None:
    await exposures_of(service, exposure("ann", "control"), exposure("bob", "test"))
    [experiment] = (await service.read("/experiments/"))["results"]
    await service.capture(
        exposure("ann", "test", "2022-11-01T08:00:00Z"),
        event("$identify", "bob@example.com", properties={"$anon_distinct_id": "bob"}),
        exposure("bob@example.com", "test", "2022-11-01T08:00:00Z"),
    )

    body = await service.read(f"/experiments/{experiment['id']}/exposures/")

    assert series(body) == {"control": [0, 0, 0], "test": [1, 0, 0], "$multiple": [1, 0, 0]}
    assert body["accounting"]["persons_seen"] == 2


async def test_draft_has_no_exposures_and_intervals_are_named(service: Service) -> None:
    draft = await service.create_experiment(start_date=None, end_date=None, feature_flag_key="draft")
    started = await service.create_experiment()

    answers = [
        await service.get(f"/experiments/{draft['id']}/exposures/"),
        await service.get(f"/experiments/{started['id']}/exposures/", interval="decade"),
    ]

    assert [answer.status_code for answer in answers] == [400, 400]
    assert answers[0].json()["detail"] == "Experiment has not started yet"
    assert answers[1].json()["attr"] == "interval"


FACTS = st.lists(st.tuples(st.integers(1, 6), st.integers(-3, 9), st.integers(0, 3)), max_size=40)


@given(FACTS)
def test_accounting_sums_add_up_for_any_events(facts: list[tuple[int, int, int]]) -> None:
    counts = counted(facts)

    assert counts.event_count == len(set(facts))  # two events of one evaluation count once
    assert counts.exposed.sum() + counts.in_several <= counts.persons
    by_person: dict[int, set[int]] = {}
    for actor, hour, variant in facts:
        if 0 <= hour < 6:
            by_person.setdefault(actor, set()).update({variant} & {1, 2})
    assert counts.persons == len(by_person)
    assert counts.in_several == sum(variants == {1, 2} for variants in by_person.values())
    assert counts.exposed.tolist() == [sum(variants == {one} for variants in by_person.values()) for one in (1, 2)]


@given(FACTS, FACTS)
def test_counts_of_different_persons_add_up(
    some: list[tuple[int, int, int]], others: list[tuple[int, int, int]]
) -> None:
    others = [(actor + 10, hour, variant) for actor, hour, variant in others]

    together = counted(some + others)
    added = ExposureCounts.from_bytes((counted(some) + counted(others)).to_bytes())

    assert added.first.tolist() == together.first.tolist()
    assert added.events.tolist() == together.events.tolist()
    assert (added.outside, added.persons) == (together.outside, together.persons)


def counted(facts: list[tuple[int, int, int]]) -> ExposureCounts:
    """Count facts of (person, hours since the start, variant) in an experiment of six hours and two variants."""
    start = dt.datetime(2022, 11, 1, tzinfo=dt.UTC)
    since, hour = to_microseconds(start), 3_600_000_000
    columns = FactColumns(
        np.array([actor for actor, _, _ in facts], dtype=np.int64),
        np.array([since + at * hour for _, at, _ in facts], dtype=np.int64),
        np.array([variant for _, _, variant in facts], dtype=np.int32),
        np.full(len(facts), np.nan),
        np.arange(len(facts), dtype=np.int64),
    )
    hours = ticks(start, start + dt.timedelta(hours=5), "hour", ZoneInfo("UTC"))
    window = Window(since, since + 6 * hour)
    once = evaluations(columns)

    def ledgers(inside: FactColumns) -> tuple[Ledger, Ledger, Ledger]:
        ledger = Ledger.of(inside, 2)
        return ledger, ledger, Ledger.of_held_out(inside, 2, "exclude", 0)

    return count_exposures(once, once, hours, window, ledgers, 2)


async def test_interval_that_is_too_short_for_the_experiment_is_refused(service: Service) -> None:
    experiment = await service.create_experiment(start_date="2005-01-01T00:00:00Z")
    path = f"/experiments/{experiment['id']}/exposures/"

    by_hour, by_day, unless_said = [
        await service.get(path, **chosen) for chosen in ({"interval": "hour"}, {"interval": "day"}, {})
    ]

    assert [by_hour.status_code, by_day.status_code] == [400, 400]
    assert "at most 5,000 intervals. Choose the interval week:" in by_hour.json()["detail"]
    assert unless_said.json()["timeseries"][0]["days"][:2] == ["2004-12-26", "2005-01-02"]


def as_exposure_event(called: dict[str, object]) -> dict[str, object]:
    return {**called, "event": "$experiment_exposure"}


async def test_both_events_of_exposure_count_and_both_for_one_evaluation_once(service: Service) -> None:
    experiment = await service.create_experiment(filters=TREND)
    called = [exposure(f"called {number}", "control") for number in range(3)]
    written = [as_exposure_event(exposure(f"written {number}", "test")) for number in range(2)]
    both = exposure("both", "test")
    twice = [exposure("several", "control"), as_exposure_event(exposure("several", "test"))]
    elsewhere = as_exposure_event(exposure("elsewhere", "test", flag="other"))
    await service.capture(*called, *written, both, as_exposure_event(both), *twice, elsewhere)
    await service.capture(event("$pageview", "both", variant="test"))

    body = await service.read(f"/experiments/{experiment['id']}/exposures/")
    health = await service.read(f"/experiments/{experiment['id']}/health/")
    analysis = await service.read(f"/experiments/{experiment['id']}/analysis/")

    assert body["total_exposures"] == {"control": 3, "test": 3, "$multiple": 1}
    assert body["accounting"]["exposure_events"] == 8
    assert "ZERO_EXPOSURES" not in {finding["code"] for finding in health["findings"]}
    [metric] = analysis["metrics"]
    samples = {variant["key"]: variant["number_of_samples"] for variant in metric["analysis"]["variants"]}
    assert samples == {"control": 3, "test": 3}
