"""Breakdowns of a metric by the values of a property."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from app.metrics.counting.incremental import MetricCounter
from tests.support.service import FUNNEL, Service, event

pytestmark = [pytest.mark.one_database, pytest.mark.clickhouse]

PURCHASES = {
    "kind": "ExperimentMetric",
    "name": "Purchases",
    "metric_type": "mean",
    "source": {"kind": "EventsNode", "event": "purchase"},
}
BOUGHT = {**PURCHASES, "name": "Bought", "metric_type": "funnel", "series": [PURCHASES["source"]]}
del BOUGHT["source"]


def shown(person: str, variant: str, device: str | None, time: str = "2022-11-02T09:00:00Z") -> dict[str, object]:
    own = {} if device is None else {"device": device}
    properties = {"$feature_flag": "checkout", "$feature_flag_response": variant, **own}
    return event("$feature_flag_called", person, time, properties=properties)


def counts(segment: Any) -> dict[str, tuple[float, float]]:
    return {one["key"]: (one["number_of_samples"], one["sum"]) for one in segment["analysis"]["variants"]}


def by_value(breakdown: Any) -> dict[str | None, dict[str, tuple[float, float]]]:
    return {one["value"]: counts(one) for one in breakdown["values"]}


async def broken_down(service: Service, experiment: Any, **asked: Any) -> Any:
    return (await service.read(f"/experiments/{experiment['id']}/analysis/", breakdown="device", **asked))["breakdown"]


async def experiment_of_devices(service: Service, sizes: Mapping[str | None, Sequence[int]], **fields: Any) -> Any:
    """Create an experiment of persons with a device, so many of control and of test, of whom every fourth bought."""
    experiment = await service.create_experiment(**{"filters": {}, "metrics": [PURCHASES], **fields})
    events = []
    for device, of_variants in sizes.items():
        for variant, count in zip(("control", "test"), of_variants, strict=True):
            names = [f"{device} {variant} {number}" for number in range(count)]
            events += [shown(name, variant, device) for name in names]
            events += [event("purchase", name, properties={"device": "till"}) for name in names[::4]]
    for start in range(0, len(events), 500):
        await service.capture(*events[start : start + 500])
    return experiment


async def test_persons_are_parted_by_their_first_exposure(service: Service) -> None:
    experiment = await experiment_of_devices(service, {"phone": (40, 44), "desktop": (16, 16), None: (8, 4)})
    await service.capture(
        shown("phone test 0", "test", "desktop", "2022-11-03T09:00:00Z"),  # a later exposure
        shown("both", "test", "phone"),
        shown("both", "control", "phone"),
        event("purchase", "both"),
    )

    breakdown = await broken_down(service, experiment)
    whole = await service.read(f"/experiments/{experiment['id']}/analysis/")

    assert by_value(breakdown) == {
        "phone": {"control": (40, 10), "test": (44, 11)},
        "desktop": {"control": (16, 4), "test": (16, 4)},
        None: {"control": (8, 2), "test": (4, 1)},
    }
    assert (breakdown["other"], breakdown["truncated"], breakdown["multiple_testing"]) == (None, False, "holm")
    assert "exploratory" in breakdown["notes"][0]
    assert counts(whole["metrics"][0]) == {"control": (64, 16), "test": (64, 16)}
    assert whole["breakdown"] is None


async def test_value_that_becomes_frequent_is_shown_without_counting_all_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = await experiment_of_devices(service, {"a": (8, 8), "b": (4, 4), "c": (2, 2), "d": (1, 1)})
    before = await broken_down(service, experiment, limit="2")
    await service.capture(*(shown(f"new {number}", "test", "c") for number in range(5)))

    async def fail(_: object) -> None:
        raise AssertionError("all facts are counted again")

    monkeypatch.setattr(MetricCounter, "recompute", fail)
    after = await broken_down(service, experiment, limit="2")

    assert by_value(before) == {"a": {"control": (8, 2), "test": (8, 2)}, "b": {"control": (4, 1), "test": (4, 1)}}
    assert counts(before["other"]) == {"control": (3, 2), "test": (3, 2)}
    assert by_value(after) == {"a": {"control": (8, 2), "test": (8, 2)}, "c": {"control": (2, 1), "test": (7, 1)}}
    assert counts(after["other"]) == {"control": (5, 2), "test": (5, 2)}
    assert after["other"]["exposed"] == {"control": 5, "test": 5}


async def test_p_values_and_splits_are_corrected_for_the_number_of_values(service: Service) -> None:
    uneven: dict[str | None, Sequence[int]] = {"phone": (190, 110), "desktop": (60, 140)}
    uneven |= {f"device {number}": (3, 3) for number in range(4)}
    config = {"method": "frequentist", "sequential": {"enabled": False}}
    experiment = await experiment_of_devices(service, uneven, stats_config=config)

    breakdown = await broken_down(service, experiment, limit=2)

    [phone, desktop] = breakdown["values"]
    other, truncated = breakdown["other"], breakdown["truncated"]
    assert (other["value"], other["exposed"], truncated) == (None, {"control": 12, "test": 12}, True)
    tested = [one["sample_ratio_mismatch"] for one in (phone, desktop, other)]
    assert [one["mismatch"] for one in tested] == [True, True, False]
    assert tested[0]["expected"] == {"control": 150, "test": 150}
    found = [one["analysis"]["variants"][1] for one in (phone, desktop, other)]
    least = min(one["p_value"] for one in found)
    assert min(one["adjusted_p_value"] for one in found) == pytest.approx(min(1, 3 * least))


async def test_a_mismatch_has_to_stand_out_among_the_values(service: Service) -> None:
    """A split with p = 0.0004 is an alarm by itself, and not among 3 values."""
    experiment = await experiment_of_devices(service, {"phone": (121, 72), "desktop": (40, 40), None: (40, 40)})

    breakdown = await broken_down(service, experiment)

    [phone, *_] = [one["sample_ratio_mismatch"] for one in breakdown["values"]]
    assert 0.001 / 3 < phone["p_value"] < 0.001
    assert phone["mismatch"] is False


async def test_quantiles_of_events_are_parted_by_their_property(service: Service) -> None:
    slowest = {"quantile_level": 0.5, "quantile_type": "event", "metric_type": "quantile", "name": "Median of loads"}
    loads = {"kind": "EventsNode", "event": "load", "math_property": "ms"}
    experiment = await service.create_experiment(filters={}, metrics=[{**slowest, "source": loads}])
    times = {("phone", "control"): 300, ("phone", "test"): 200, ("desktop", "control"): 50, ("desktop", "test"): 40}
    for (device, variant), typical in times.items():
        names = [f"{device} {variant} {number}" for number in range(20)]
        await service.capture(*(shown(name, variant, None) for name in names))
        spread = [(name, typical + number) for number, name in enumerate(names)]
        await service.capture(
            *(event("load", name, properties={"device": device, "ms": ms}) for name, ms in spread for _ in range(2))
        )

    breakdown = await broken_down(service, experiment, breakdown_by="metric")

    medians = {
        one["value"]: {found["key"]: found["mean"] for found in one["analysis"]["variants"]}
        for one in breakdown["values"]
    }
    assert medians == {"phone": {"control": 310, "test": 210}, "desktop": {"control": 60, "test": 50}}
    assert "not parts of one total" in breakdown["notes"][1]


async def test_events_are_parted_relative_to_all_exposed_persons(service: Service) -> None:
    experiment = await service.create_experiment(filters={}, metrics=[PURCHASES, BOUGHT])
    persons = [(variant, f"{variant} {number}") for variant in ("control", "test") for number in range(10)]
    await service.capture(
        *(shown(name, variant, "irrelevant") for variant, name in persons),
        *(event("purchase", name, properties={"device": "phone"}) for _, name in persons),
        *(event("purchase", name, properties={"device": "desktop"}) for variant, name in persons if variant == "test"),
        event("purchase", "test 0"),
        *[event("purchase", "nobody", properties={"device": "watch"})] * 30,
        event("purchase", "test 0", "2022-11-02T08:00:00Z", properties={"device": "radio"}),
        event("purchase", "test 1", properties={"device": 2}),
    )
    path = f"/experiments/{experiment['id']}/analysis/"

    breakdown = await broken_down(service, experiment, breakdown_by="metric", limit="3")
    funnel = await service.get(path, breakdown="device", breakdown_by="metric", metric=experiment["metrics"][1]["uuid"])

    assert by_value(breakdown) == {
        "phone": {"control": (10, 10), "test": (10, 10)},
        "desktop": {"control": (10, 0), "test": (10, 10)},
        None: {"control": (10, 0), "test": (10, 1)},
    }
    assert (breakdown["truncated"], counts(breakdown["other"])) == (True, {"control": (10, 0), "test": (10, 1)})
    assert breakdown["values"][0]["exposed"] == {"control": 10, "test": 10}
    assert [one["sample_ratio_mismatch"] for one in breakdown["values"]] == [None] * 3
    assert "all exposed persons" in breakdown["notes"][1]
    assert (funnel.status_code, funnel.json()["attr"]) == (400, "breakdown_by")


@pytest.mark.parametrize(
    ("fields", "sums"),
    [
        ({"filters": {"insight": "TRENDS", "events": [{"id": "purchase", "math": "dau"}]}}, {"x": (4, 1), "y": (2, 1)}),
        ({"filters": FUNNEL, "parameters": {"attribution": "exposure"}}, {"x": (4, 1), "y": (2, 1)}),
        (
            {
                "filters": {},
                "metrics": [{**PURCHASES, "source": {**PURCHASES["source"], "math": "unique_session"}}],  # type: ignore[dict-item]  # of the constant
            },
            {"x": (4, 2), "y": (2, 1)},
        ),
    ],
)
async def test_metrics_of_every_kind_are_broken_down(
    service: Service, fields: dict[str, Any], sums: dict[str, Any]
) -> None:
    experiment = await service.create_experiment(**fields)
    for device, count in (("x", 4), ("y", 2)):
        for variant in ("control", "test"):
            names = [f"{device} {variant} {number}" for number in range(count)]
            await service.capture(
                *(shown(name, variant, device) for name in names),
                *(event("$pageview", name, properties={"$session_id": f"{name} pages"}) for name in names),
                event("purchase", names[0], properties={"$session_id": f"{device} 1"}),
                *[event("purchase", names[0], properties={"$session_id": f"{device} {2 if device == 'x' else 1}"})] * 2,
            )

    breakdown = await broken_down(service, experiment)

    assert by_value(breakdown) == {
        device: {"control": tuple(expected), "test": tuple(expected)} for device, expected in sums.items()
    }


async def test_properties_of_persons_are_those_of_today(service: Service) -> None:
    experiment = await service.create_experiment(filters={}, metrics=[PURCHASES])
    for variant in ("control", "test"):
        await service.capture(
            *(shown(f"{variant} {number}", variant, "irrelevant") for number in range(4)),
            *(
                event("purchase", f"{variant} {number}", properties={"$set": {"device": plan}})
                for number, plan in enumerate(["pro", "pro", 1])
            ),
        )

    by_exposure = await broken_down(service, experiment, breakdown_type="person")
    by_metric = await broken_down(service, experiment, breakdown_type="person", breakdown_by="metric")

    assert by_value(by_exposure) == {
        "pro": {"control": (2, 2), "test": (2, 2)},
        "1": {"control": (1, 1), "test": (1, 1)},
        None: {"control": (1, 0), "test": (1, 0)},
    }
    assert by_value(by_metric) == {
        "pro": {"control": (4, 2), "test": (4, 2)},
        "1": {"control": (4, 1), "test": (4, 1)},
    }
    assert "today" in by_exposure["notes"][1]


async def test_breakdown_without_persons_has_no_values(service: Service) -> None:
    experiment = await service.create_experiment(filters={}, metrics=[PURCHASES])

    for by in ("exposure", "metric"):
        breakdown = await broken_down(service, experiment, breakdown_by=by)
        assert (breakdown["values"], breakdown["other"], breakdown["truncated"]) == ([], None, False)


async def test_companies_are_parted_by_their_first_exposure(service: Service) -> None:
    experiment = await service.create_experiment(
        filters={"insight": "TRENDS", "events": [{"id": "purchase"}], "aggregation_group_type_index": 0}
    )
    for company, variant in (("acme", "control"), ("umbrella", "test")):
        of_company = [shown("ann", variant, "phone"), shown("bob", variant, "desktop", "2022-11-02T09:01:00Z")]
        of_company += [event("purchase", "bob", "2022-11-02T09:02:00Z")]
        for one in of_company:
            one["properties"]["$groups"] = {"company": company}  # type: ignore[index]  # of the helper's mapping
        await service.capture(*of_company)

    breakdown = await broken_down(service, experiment)
    refused = await service.get(
        f"/experiments/{experiment['id']}/analysis/", breakdown="device", breakdown_type="person"
    )

    assert by_value(breakdown) == {"phone": {"control": (1, 1), "test": (1, 1)}}
    assert (refused.status_code, refused.json()["attr"]) == (400, "breakdown_type")


@pytest.mark.parametrize(
    ("asked", "attr"),
    [
        ({"breakdown": ""}, "breakdown"),
        ({"breakdown": "x" * 401}, "breakdown"),
        ({"breakdown_by": "metric"}, "breakdown_by"),
        ({"limit": "5"}, "limit"),
        ({"breakdown": "device", "breakdown_by": "events"}, "breakdown_by"),
        ({"breakdown": "device", "breakdown_type": "group"}, "breakdown_type"),
        ({"breakdown": "device", "limit": "0"}, "limit"),
        ({"breakdown": "device", "limit": "51"}, "limit"),
        ({"breakdown": "device", "limit": "٣"}, "limit"),
        ({"breakdown": "device", "metric": "secondary-0"}, "metric"),
        ({"breakdown": "device", "breakdowns": "browser"}, "breakdowns"),
    ],
)
async def test_unknown_breakdowns_are_refused_by_name(service: Service, asked: dict[str, str], attr: str) -> None:
    experiment = await service.create_experiment(filters={}, metrics=[PURCHASES])

    refused = await service.get(f"/experiments/{experiment['id']}/analysis/", **asked)

    assert (refused.status_code, refused.json()["attr"]) == (400, attr), refused.text
