"""Experiments whose flag assigns groups: companies are the unit of every figure."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.service import FUNNEL, TREND, Service, event, exposure

pytestmark = [pytest.mark.one_database, pytest.mark.clickhouse]

USED = {"control": 3, "test": 7}  # companies of ten
PERSONS = 10


def of_company(name: str, who: str, company: str | None, time: str = "2022-11-02T10:00:00Z", **more: Any) -> Any:
    properties = more.pop("properties", {})
    groups = {} if company is None else {"$groups": {"company": company}}
    return event(name, who, time, properties={**groups, **properties}, **more)


def called(who: str, company: str | None, variant: str) -> Any:
    answer = {"$feature_flag": "checkout", "$feature_flag_response": variant}
    return of_company("$feature_flag_called", who, company, "2022-11-02T09:00:00Z", properties=answer)


def everybody() -> list[Any]:
    """Return what ten persons in each of ten companies of each variant do; all or none of a company use it."""
    events = []
    for variant, used in USED.items():
        for company in range(10):
            for person in range(PERSONS):
                who, key = f"{variant}-{company}-{person}", f"{variant}-{company}"
                events += [called(who, key, variant), of_company("$pageview", who, key, variant=variant)]
                if company < used:
                    events.append(of_company("purchase", who, key, "2022-11-02T11:00:00Z", variant=variant))
    return events


async def company_experiment(service: Service, events: Sequence[Any], **fields: Any) -> Any:
    experiment = await service.create_experiment(
        **{
            "filters": {**TREND, "events": [{"id": "purchase", "math": "dau"}], "aggregation_group_type_index": 0},
            **fields,
        }
    )
    for start in range(0, len(events), 500):
        await service.capture(*events[start : start + 500])
    return experiment


async def read(service: Service, experiment: Any, what: str, **parameters: Any) -> Any:
    return await service.read(f"/experiments/{experiment['id']}/{what}/", **parameters)


def sums(metric: Any) -> dict[str, list[float]]:
    return {one["key"]: [one["number_of_samples"], one["sum"]] for one in metric["analysis"]["variants"]}


async def test_companies_are_the_unit_of_every_figure(service: Service) -> None:
    """Of 10 and 10 companies 3 and 7 use it, which is little evidence however many persons each has."""

    def trend(math: str, **more: Any) -> Any:
        return {"name": math, "filters": {"events": [{"id": "purchase", "math": math, **more}]}}

    secondary = [
        trend("unique_group", math_group_type_index=0),
        trend("total"),
        {"name": "funnel", "filters": {**FUNNEL, "aggregation_group_type_index": 0}},
        {"name": "funnel of the same unit", "filters": FUNNEL},
        {"name": "strict", "filters": {**FUNNEL, "funnel_order_type": "strict"}},
        {"name": "other groups", "filters": {**FUNNEL, "aggregation_group_type_index": 3}},
    ]
    config = {"method": "frequentist", "sequential": {"enabled": False}}
    experiment = await company_experiment(service, everybody(), secondary_metrics=secondary, stats_config=config)

    results = await read(service, experiment, "results", explain="true")
    analysis = await read(service, experiment, "analysis")
    series = await read(service, experiment, "timeseries_results")
    exposures = await read(service, experiment, "exposures")
    health = await read(service, experiment, "health")
    decision = await read(service, experiment, "decision")

    assert {one["key"]: (one["count"], one["absolute_exposure"]) for one in results["variants"]} == {
        "control": (3, 10.0),
        "test": (7, 10.0),
    }
    assert results["significance_code"] == "not_enough_exposure"
    share = {"control": [10, 3], "test": [10, 7]}
    primary, unique, total, funnel, same, strict, other = analysis["metrics"]
    assert (analysis["unit"], [sums(one) for one in (primary, unique, funnel, same)]) == ("companies", [share] * 4)
    assert sums(total) == {"control": [10, 30], "test": [10, 70]}
    assert sums(strict)["control"][0] == 10
    assert other["detail"] == "The metric is about groups of the type 3, but the flag assigns groups of the type 0."
    p_value = primary["analysis"]["variants"][1]["p_value"]
    assert p_value == pytest.approx(0.0736, abs=1e-4)  # Fisher's exact test gives 0.179, persons gave 1e-71
    assert list(series["timeseries"].values())[-1]["variants"] == primary["analysis"]["variants"]
    assert (exposures["unit"], exposures["total_exposures"]) == (
        "companies",
        {"control": 10, "test": 10, "$multiple": 0},
    )
    assert exposures["accounting"]["analysed"] == exposures["accounting"]["persons_seen"] == 20
    assert exposures["accounting"]["exposure_events"] == exposures["accounting"]["with_variant"] == 200
    assert analysis["sample_ratio_mismatch"]["expected"] == {"control": 10, "test": 10}
    assert (decision["progress"]["exposed"], decision["recommendation"] == "ship") == (20, False)
    assert health["status"] == "healthy", health


async def test_results_of_a_group_funnel_count_what_the_flag_assigns(service: Service) -> None:
    filters = {**FUNNEL, "aggregation_group_type_index": 0}
    experiment = await company_experiment(service, everybody(), filters=filters)

    results = await read(service, experiment, "results", explain="true")

    assert results["variants"] == [
        {"key": "control", "success_count": 3, "failure_count": 7},
        {"key": "test", "success_count": 7, "failure_count": 3},
    ]
    assert results["explain"]["counts"]["unit"] == "companies"


async def test_person_of_two_companies_acts_for_the_one_that_the_event_names(service: Service) -> None:
    """Events without a company, and of groups of another type, belong to no unit."""
    events = [
        called("ann", "acme", "control"),
        called("ann", "tiny", "test"),
        called("bob", None, "test"),
        called("bob", "big", "test"),
        called("cleo", "big", "control"),
        of_company("purchase", "ann", "acme", variant="control"),
        of_company("purchase", "ann", None, variant="test"),
        event("purchase", "ann", variant="test", properties={"$groups": {"team": "acme"}}),
        of_company("purchase", "dan", "tiny", variant="test"),
        of_company("purchase", "eve", "tiny", variant="test"),
    ]
    experiment = await company_experiment(service, events)

    results = await read(service, experiment, "results")
    exposures = await read(service, experiment, "exposures")
    [metric] = (await read(service, experiment, "analysis"))["metrics"]

    assert {one["key"]: one["count"] for one in results["variants"]} == {"control": 1, "test": 1}
    assert exposures["total_exposures"] == {"control": 1, "test": 1, "$multiple": 1}
    accounting = exposures["accounting"]
    assert (accounting["exposure_events"], accounting["with_variant"], accounting["without_group"]) == (5, 4, 1)
    assert sums(metric) == {"control": [1, 1], "test": [1, 1]}


async def test_split_of_companies_is_tested_whatever_their_size(service: Service) -> None:
    def exposed(companies: dict[str, int], persons: int) -> list[Any]:
        return [
            called(f"{variant}-{company}-{person}", f"{variant}-{company}", variant)
            for variant, count in companies.items()
            for company in range(count)
            for person in range(persons if variant == "test" else 1)
        ]

    view = [of_company("purchase", "x", f"{variant}-0", variant=variant) for variant in ("control", "test")]
    even = await company_experiment(service, [*exposed({"control": 60, "test": 60}, 5), *view])
    found = (await read(service, even, "health"))["findings"]
    await service.capture(*exposed({"control": 120}, 1))
    broken = (await read(service, even, "health"))["findings"]

    assert found == []
    assert [(one["code"], one["evidence"]["observed"]) for one in broken] == [("SRM", {"control": 120, "test": 60})]
    assert broken[0]["detail"].startswith("Companies were not exposed in the planned proportions")


async def test_health_says_that_exposures_name_no_group(service: Service) -> None:
    events = [exposure(f"{variant}-{number}", variant) for variant in ("control", "test") for number in range(3)]
    experiment = await company_experiment(service, [*events, of_company("purchase", "x", "acme", variant="test")])

    report = await read(service, experiment, "health")

    assert {"MISSING_GROUP", "ZERO_EXPOSURES"} <= {finding["code"] for finding in report["findings"]}


async def test_stored_counts_of_companies_equal_recounted_ones(service: Service) -> None:
    experiment = await company_experiment(service, everybody()[:250])
    for start in (250, 251, 300):
        await service.capture(*everybody()[start : start + 120])
        await service.capture(event("$identify", "test-1-1", properties={"$anon_distinct_id": f"control-{start}-2"}))
        added = await read(service, experiment, "results")
        assert added == await read(service, experiment, "results", refresh="true")


async def test_own_exposure_and_sessions_are_of_companies_too(service: Service) -> None:
    def seen(who: str, company: str | None, variant: str, **properties: Any) -> Any:
        return of_company("seen", who, company, variant=variant, properties=properties)

    events = [
        *(seen(f"{number}", "acme", "control", **{"$session_id": f"{number}"}) for number in range(3)),
        seen("x", "tiny", "test", **{"$session_id": "x"}),
        seen("y", None, "test", **{"$session_id": "y"}),
    ]
    experiment = await company_experiment(
        service,
        events,
        filters={"events": [{"id": "seen", "math": "total"}], "aggregation_group_type_index": 0},
        parameters={"custom_exposure_filter": {"events": [{"id": "seen", "math": "dau"}]}},
        secondary_metrics=[{"filters": {"events": [{"id": "seen", "math": "unique_session"}]}}],
    )

    results = await read(service, experiment, "results")
    exposures = await read(service, experiment, "exposures")
    sessions = await read(service, experiment, "secondary_results", id=0)

    assert [(one["count"], one["absolute_exposure"]) for one in results["variants"]] == [(3, 1.0), (1, 1.0)]
    assert (exposures["total_exposures"], exposures["accounting"]["without_group"]) == (
        {"control": 1, "test": 1, "$multiple": 0},
        1,
    )
    assert sessions["result"] == {"control": 3, "test": 2}


@pytest.mark.parametrize("place", ["filters", "parameters"])
async def test_typed_metrics_of_groups_are_asked_for_in_one_request(service: Service, place: str) -> None:
    purchase = {"metric_type": "mean", "source": {"kind": "EventsNode", "event": "purchase", "math": "total"}}
    metrics = [{"kind": "ExperimentMetric", "name": "Purchases", "goal": "increase", **purchase}]

    experiment = await company_experiment(
        service, everybody(), **{"filters": {}, "metrics": metrics, place: {"aggregation_group_type_index": 0}}
    )
    flag = await service.read(f"/feature_flags/{experiment['feature_flag']}/")
    analysis = await service.read(f"/experiments/{experiment['id']}/analysis/")

    assert flag["filters"]["aggregation_group_type_index"] == 0
    [metric] = analysis["metrics"]
    variants = {one["key"]: (one["number_of_samples"], one["sum"]) for one in metric["analysis"]["variants"]}
    assert variants == {key: (10, used * PERSONS) for key, used in USED.items()}
    refused = await service.get(f"/experiments/{experiment['id']}/results/")
    assert (refused.status_code, "no target metric" in refused.text) == (400, True)
