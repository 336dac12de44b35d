"""Experiments whose JSON was copied from PostHog: what is understood is honored, and what is not is refused by name."""

import copy
from typing import Any

import pytest

from app.common.errors import ValidationFailed
from app.experiments.scorecard.schemas import ExperimentStatsConfig
from app.http.request_body import validate
from tests.support.service import Service, event

Body = dict[str, Any]

# As PostHog answers for an experiment; its own ids and people are left as they come.
FUNNEL: Body = {
    "kind": "ExperimentMetric",
    "uuid": "0f9c1c6e-51a4-4b0a-9d5e-6c1f0a4c7b11",
    "name": "Checkout conversion",
    "metric_type": "funnel",
    "goal": "increase",
    "series": [
        {"kind": "EventsNode", "event": "cart viewed", "name": "cart viewed", "math": "total", "properties": []},
        {
            "kind": "EventsNode",
            "event": "order placed",
            "name": "order placed",
            "optionalInFunnel": False,
            "properties": [{"key": "$browser", "value": ["Chrome"], "operator": "is_not", "type": "event"}],
        },
    ],
    "funnel_order_type": "ordered",
    "conversion_window": 7,
    "conversion_window_unit": "day",
    "fingerprint": "7d1b20ab",
    "isSharedMetric": False,
    "breakdownFilter": {
        "breakdowns": [{"type": "event", "property": "$browser", "normalize_url": False}],
        "breakdown_type": "event",
        "breakdown_limit": 1,
        "breakdown_hide_other_aggregation": False,
    },
}
REVENUE: Body = {
    "kind": "ExperimentMetric",
    "uuid": "5c0f4a52-0a4f-4a27-8f4c-3f2e5d3a9c22",
    "name": "Revenue",
    "metric_type": "mean",
    "goal": None,
    "source": {
        "kind": "EventsNode",
        "event": "order placed",
        "name": "order placed",
        "custom_name": None,
        "math": "sum",
        "math_property": "amount",
        "math_property_type": "numerical_event_properties",
        "math_hogql": None,
        "math_multiplier": None,
        "math_group_type_index": None,
        "properties": None,
        "fixedProperties": None,
        "limit": None,
        "orderBy": ["timestamp"],
        "response": None,
        "version": None,
    },
    "lower_bound_percentile": None,
    "upper_bound_percentile": 1,
    "ignore_zeros": None,
    "threshold": None,
    "series": None,
    "retention_window_start": None,
    "isSharedMetric": True,
    "sharedMetricId": 4711,
    "breakdownFilter": {"breakdowns": []},
    "breakdownAttributionType": None,
    "response": None,
    "version": 1,
}
COPIED: Body = {
    "id": 815,
    "name": "Shorter checkout",
    "description": "",
    "start_date": "2022-11-01T00:00:00Z",
    "end_date": "2022-11-15T00:00:00Z",
    "feature_flag_key": "shorter-checkout",
    "feature_flag": {"id": 99, "key": "shorter-checkout", "active": True},
    "holdout": None,
    "holdout_id": None,
    "exposure_cohort": None,
    "parameters": {
        "feature_flag_variants": [
            {"key": "control", "name": "Control", "rollout_percentage": 50},
            {"key": "test", "name": "Test", "rollout_percentage": 50},
        ],
        "recommended_running_time": 14,
    },
    "secondary_metrics": [],
    "saved_metrics": [],
    "saved_metrics_ids": None,
    "filters": {},
    "archived": False,
    "deleted": False,
    "type": "product",
    "exposure_criteria": {
        "filterTestAccounts": False,
        "exposure_config": {"event": "checkout opened", "properties": [], "version": None},
        "multiple_variant_handling": None,
    },
    "metrics": [FUNNEL],
    "metrics_secondary": [REVENUE],
    "stats_config": {
        "version": 2,
        "timeseries": True,
        "method": "bayesian",
        "bayesian": {"ci_level": 0.9},
        "frequentist": {"alpha": 0.2},
    },
    "scheduling_config": None,
    "primary_metrics_ordered_uuids": [FUNNEL["uuid"]],
    "only_count_matured_users": False,
    "status": "stopped",
    "user_access_level": "editor",
}

PRO: list[Body] = [{"key": "plan", "value": "pro", "type": "person"}]


def opened(person: str, variant: str, browser: str) -> Body:
    return event("checkout opened", person, variant=variant, flag="shorter-checkout", properties={"$browser": browser})


async def test_copied_experiment_counts_what_it_says(service: Service) -> None:
    created = await service.post("/experiments/", COPIED)
    assert created.status_code == 201, created.text
    await service.capture(
        *(opened(f"{variant} {number}", variant, "Safari") for variant in ("control", "test") for number in range(3)),
        opened("other", "test", "Firefox"),
        *(event("cart viewed", f"test {number}", "2022-11-02T11:00:00Z") for number in range(2)),
        event("order placed", "test 0", "2022-11-02T12:00:00Z", properties={"$browser": "Safari", "amount": 30}),
        event("order placed", "test 1", "2022-11-02T12:00:00Z", properties={"$browser": "Chrome", "amount": 5}),
    )

    analysis = await service.read(f"/experiments/{created.json()['id']}/analysis/")

    target, revenue = analysis["metrics"]
    assert target["analysis"]["stats_config"]["confidence_level"] == 0.9
    assert _sums(target["analysis"]) == {"control": (3, 0), "test": (4, 1)}
    assert _sums(revenue["analysis"]) == {"control": (3, 0), "test": (4, 35)}
    broken_down = target["breakdown"]
    assert [(one["value"], _sums(one["analysis"])) for one in broken_down["values"]] == [
        ("Safari", {"control": (3, 0), "test": (3, 1)})
    ]
    assert broken_down["other"]["exposed"] == {"control": 0, "test": 1}
    assert (revenue["breakdown"], analysis["breakdown"]) == (None, None)


def _sums(analysis: Any) -> dict[str, tuple[float, float]]:
    return {one["key"]: (one["number_of_samples"], one["sum"]) for one in analysis["variants"]}


@pytest.mark.one_database
async def test_copied_definitions_are_stored_without_the_books_of_the_other_product(service: Service) -> None:
    created = (await service.post("/experiments/", COPIED)).json()

    [target], [revenue] = created["metrics"], created["metrics_secondary"]
    assert created["stats_config"] == {"method": "bayesian", "confidence_level": 0.9}
    assert target["breakdownFilter"] == {
        "breakdowns": [{"type": "event", "property": "$browser"}],
        "breakdown_limit": 1,
    }
    assert not {"isSharedMetric", "sharedMetricId", "response", "version"} & {*target, *revenue}
    assert "goal" not in revenue
    assert revenue["source"].keys() - {"custom_name", "math_group_type_index"} == {
        *("kind", "event", "name", "math", "math_property")
    }
    again = await service.patch(f"/experiments/{created['id']}/", {"metrics": [target], "metrics_secondary": [revenue]})
    assert (again.json()["metrics"], again.json()["metrics_secondary"]) == ([target], [revenue])


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("place", "value", "attr"),
    [
        (
            ("breakdownFilter", "breakdowns"),
            [{"property": 12, "type": "cohort"}],
            "breakdownFilter__breakdowns__0__type",
        ),
        (
            ("breakdownFilter", "breakdowns"),
            [{"property": "properties.a", "type": "hogql"}],
            "breakdownFilter__breakdowns__0__type",
        ),
        (
            ("breakdownFilter", "breakdowns"),
            [{"property": "name", "type": "group", "group_type_index": 0}],
            "breakdownFilter__breakdowns__0__group_type_index",
        ),
        (
            ("breakdownFilter", "breakdowns"),
            [{"property": "$current_url", "normalize_url": True}],
            "breakdownFilter__breakdowns__0__normalize_url",
        ),
        (("breakdownFilter", "breakdowns"), [{"property": "a"}, {"property": "b"}], "breakdownFilter"),
        (("breakdownFilter",), {"breakdown_type": "person", "breakdowns": [{"property": "plan"}]}, "breakdownFilter"),
        (("breakdownFilter", "breakdown"), [1, 2], "breakdownFilter__breakdown"),
        (("breakdownFilter", "breakdown_type"), "cohort", "breakdownFilter__breakdown_type"),
        (("breakdownFilter", "breakdown_limit"), 51, "breakdownFilter__breakdown_limit"),
        (("breakdownAttributionType",), "last_touch", "breakdownAttributionType"),
        (("source", "math"), "hogql", "source__math"),
        (("source", "math_hogql"), "sum(toFloat(properties.amount))", "source__math_hogql"),
        (("source", "math_multiplier"), 100, "source__math_multiplier"),
        (("source", "math_property_type"), "session_properties", "source__math_property_type"),
        (("source", "math_property_revenue_currency"), {"static": "EUR"}, "source__math_property_revenue_currency"),
        (("source", "fixedProperties"), [{"key": "a", "value": 1}], "source__fixedProperties"),
        (("source", "optionalInFunnel"), True, "source__optionalInFunnel"),
        (("source", "event"), None, "source"),
        (("source", "kind"), "ExperimentDataWarehouseNode", "source__kind"),
        (("samplingFactor",), 0.1, "samplingFactor"),
    ],
)
async def test_what_cannot_be_honored_is_refused_by_name(
    service: Service, place: tuple[str, ...], value: object, attr: str
) -> None:
    metric = copy.deepcopy(REVENUE)
    inside: Body = metric
    for name in place[:-1]:
        inside = inside[name]
    inside[place[-1]] = value

    refused = await service.post("/experiments/", {**COPIED, "metrics": [metric], "metrics_secondary": []})

    assert (refused.status_code, refused.json()["attr"]) == (400, f"metrics__0__{attr}"), refused.text


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("settings", "attr"),
    [
        (
            {"method": "frequentist", "frequentist": {"alpha": 0.05, "test_type": "one_sided"}},
            "stats_config__frequentist__test_type",
        ),
        ({"bayesian": {"ci_level": 2}}, "stats_config"),
        ({"confidence_level": 0.95, "bayesian": {"ci_level": 0.9}}, "stats_config"),
        ({"version": 2, "engine": "new"}, "stats_config__engine"),
    ],
)
async def test_copied_statistics_that_cannot_be_honored_are_refused(
    service: Service, settings: Body, attr: str
) -> None:
    refused = await service.post("/experiments/", {**COPIED, "stats_config": settings})

    assert (refused.status_code, refused.json()["attr"]) == (400, attr), refused.text


@pytest.mark.parametrize(
    ("settings", "attr"),
    [
        ({"method": None, "bayesian": {"ci_level": 0.9}}, "method"),
        ({"confidence_level": None}, "confidence_level"),
        ({"confidence_level": None, "bayesian": {"ci_level": 0.9}}, "confidence_level"),
        ({"sequential": None}, "sequential"),
        ({"sequential": {"tuning_parameter": None}}, "sequential__tuning_parameter"),
        ({"cuped": {"lookback_days": None}}, "cuped__lookback_days"),
        ({"excluded_variants": None}, "excluded_variants"),
    ],
)
def test_a_setting_of_statistics_that_is_null_is_refused_as_null(settings: Body, attr: str) -> None:
    with pytest.raises(ValidationFailed, match="This field may not be null") as refused:
        validate(ExperimentStatsConfig, settings)

    assert (refused.value.code, refused.value.attr) == ("null", attr)


async def test_experiment_says_what_its_shared_metric_is_broken_down_by(service: Service) -> None:
    saved = (await service.post("/experiment_saved_metrics/", {"name": "Orders", "query": FUNNEL})).json()
    of_link = {
        "type": "primary",
        "breakdowns": [{"property": "$os", "type": "event"}],
        "breakdownAttributionType": None,
    }
    links = [{"id": saved["id"], "metadata": of_link}]
    created = await service.post("/experiments/", {**COPIED, "metrics": [], "saved_metrics_ids": links})
    assert created.status_code == 201, created.text
    await service.capture(opened("ann", "test", "Safari"))

    metrics = (await service.read(f"/experiments/{created.json()['id']}/analysis/"))["metrics"]

    assert [one["breakdown"] and one["breakdown"]["property"] for one in metrics] == ["$os", None]
    refused = [{"id": saved["id"], "metadata": {**of_link, "breakdownAttributionType": "step"}}]
    answer = await service.patch(f"/experiments/{created.json()['id']}/", {"saved_metrics_ids": refused})
    assert answer.json()["attr"] == "saved_metrics_ids__0__metadata__breakdownAttributionType"


@pytest.mark.one_database
async def test_excluded_variants_are_not_passed_over_where_posthog_writes_them(service: Service) -> None:
    excluded = {"excluded_variants": ["test"]}
    of_parameters = {"parameters": {**COPIED["parameters"], **excluded}}

    refused = [await service.post("/experiments/", {**COPIED, **one}) for one in (excluded, of_parameters)]
    taken = await service.post("/experiments/", {**COPIED, "excluded_variants": []})

    assert [one.status_code for one in (*refused, taken)] == [400, 400, 201]
    assert [one.json()["attr"] for one in refused] == ["excluded_variants", "parameters__excluded_variants"]


@pytest.mark.one_database
async def test_copied_rollout_is_that_of_the_flag(service: Service) -> None:
    """To pass over it would show the variants to everybody."""

    def rolled_out(share: object) -> Body:
        return {"parameters": {**COPIED["parameters"], "rollout_percentage": share}}

    created = (await service.post("/experiments/", {**COPIED, **rolled_out(10)})).json()
    path, flag = f"/experiments/{created['id']}/", f"/feature_flags/{created['feature_flag']}/"
    [group] = (await service.read(flag))["filters"]["groups"]
    other = [await service.patch(path, rolled_out(share)) for share in (50, 101, "10")]
    beside = await service.post("/experiments/", {**COPIED, **rolled_out(50), "allow_existing_flag": True})
    same = await service.patch(path, {**rolled_out(10), "filters": {"properties": PRO}})

    assert group == {"properties": [], "rollout_percentage": 10}
    assert [(one.status_code, one.json()["attr"]) for one in (*other, beside)] == [(400, "parameters")] * 4
    assert same.status_code == 200, same.text
    filters = (await service.read(flag))["filters"]
    assert filters["groups"] == [{"properties": PRO, "rollout_percentage": 10}]
    await service.patch(flag, {"filters": {**filters, "groups": [{"properties": PRO, "rollout_percentage": 60}]}})
    assert (await service.patch(path, rolled_out(10))).status_code == 200  # it says what it said
    assert (await service.patch(path, rolled_out(60))).status_code == 200
    again = await service.post(f"{path}duplicate/", {})
    assert (await service.read(f"/feature_flags/{again.json()['feature_flag']}/"))["filters"]["groups"] == [
        {"properties": PRO, "rollout_percentage": 60}
    ]


async def test_breakdown_of_a_definition_that_cannot_be_counted_says_why(service: Service) -> None:
    filters = {"breakdowns": [{"type": "person", "property": "plan"}]}
    body = {**COPIED, "metrics": [{**FUNNEL, "breakdownFilter": filters}]}
    body["parameters"] = {**COPIED["parameters"], "aggregation_group_type_index": 0}
    created = await service.post("/experiments/", body)
    assert created.status_code == 201, created.text

    analysis = await service.read(f"/experiments/{created.json()['id']}/analysis/")

    broken_down = analysis["metrics"][0]["breakdown"]
    assert (broken_down["property"], broken_down["values"]) == ("plan", [])
    assert "have no properties of a person" in broken_down["detail"]
