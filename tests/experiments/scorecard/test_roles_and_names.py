"""Which typed metric is the target, which ones are guardrails, and how requests name them."""

import pytest

from tests.experiments.scorecard.test_typed_metrics import END, Body, at, funnel, mean
from tests.support.service import Service, event, exposure

pytestmark = pytest.mark.one_database


async def test_guardrail_does_not_become_the_target_metric(service: Service) -> None:
    shared = [
        (await service.post("/experiment_saved_metrics/", {"name": name, "query": mean(name, **fields)})).json()
        for name, fields in (("Errors", {"role": "guardrail"}), ("Visits", {}))
    ]
    links = [{"id": one["id"], "metadata": {"type": "primary"}} for one in shared]
    fields = {"end_date": END, "filters": {}, "saved_metrics_ids": links}
    guardrail, other = mean(name="Refunds", role="guardrail"), mean(name="Purchases")
    experiments = [
        await service.create_experiment(feature_flag_key="own", metrics=[guardrail, other], **fields),
        await service.create_experiment(feature_flag_key="shared", metrics_secondary=[other], **fields),
    ]

    found = [(await service.read(f"/experiments/{one['id']}/analysis/"))["metrics"] for one in experiments]

    assert [[(one["name"], one["role"]) for one in metrics] for metrics in found] == [
        [("Purchases", "primary"), ("Refunds", "guardrail"), ("Errors", "guardrail"), ("Visits", "secondary")],
        [("Visits", "primary"), ("Purchases", "secondary"), ("Errors", "guardrail")],
    ]


@pytest.mark.parametrize(("own", "of_target"), [({}, "decrease"), ({"goal": "increase"}, "increase")])
async def test_goal_of_the_criteria_is_that_of_a_target_metric_without_one(
    service: Service, own: Body, of_target: str
) -> None:
    criteria = {"goal": "decrease"}
    experiment = await service.create_experiment(
        end_date=END, filters={}, metrics=[mean(**own)], decision_criteria=criteria
    )

    found = await service.read(f"/experiments/{experiment['id']}/analysis/")

    assert found["metrics"][0]["goal"] == of_target


async def test_metric_is_named_by_its_uuid_wherever_metrics_are_named(service: Service) -> None:
    """The target metric too, in either case."""
    name = "ABCDEFAB-0000-4000-8000-000000000001"
    holdout = {"name": "All", "filters": [{"properties": [], "rollout_percentage": 10}]}
    held = (await service.post("/experiment_holdouts/", holdout)).json()
    breaker = {"metric_uuid": name.lower(), "direction": "decrease", "threshold_relative": 0.1, "action": "notify"}
    experiment = await service.create_experiment(
        end_date=None, filters={}, metrics=[mean(uuid=name)], holdout_id=held["id"], circuit_breakers=[breaker]
    )
    await service.capture(exposure("ann", "test"))
    path = f"/experiments/{experiment['id']}"

    answers = [
        await service.get(f"{path}/timeseries_results/", metric=name.lower()),
        await service.get(f"{path}/analysis/", metric=name.lower(), breakdown="device"),
        await service.get(f"{path}/export/", metric=name.lower(), table="timeseries", format="csv"),
        await service.get(f"/experiment_holdouts/{held['id']}/analysis/", metric=name.lower()),
    ]

    assert [answer.status_code for answer in answers] == [200] * 4, [answer.text for answer in answers]
    assert answers[1].json()["breakdown"]["metric_id"] == "primary"
    report = await service.read(f"{path}/health/")
    assert "CIRCUIT_BREAKER" not in {finding["code"] for finding in report["findings"]}


async def test_typed_guardrail_that_is_harmed_stops_shipping(service: Service) -> None:
    events = []
    for variant, crashes in (("control", 5), ("test", 150)):
        for number in range(400):
            person = f"{variant}-{number}"
            events.append(exposure(person, variant, at(1, "09:00:00")))
            if number < (100 if variant == "control" else 200):
                events.append(event("purchase", person, at(2, "09:00:00")))
            if number < crashes:
                events.append(event("crash", person, at(2, "09:00:00")))
    experiment = await service.create_experiment(
        end_date="2022-11-15T00:00:00Z",
        filters={},
        metrics=[funnel("purchase")],
        metrics_secondary=[mean("crash", "dau", goal="decrease", role="guardrail", name="Crashes")],
    )
    for start in range(0, len(events), 500):
        await service.capture(*events[start : start + 500])

    decision = await service.read(f"/experiments/{experiment['id']}/decision/")

    assert decision["recommendation"] != "ship"
    assert "Crashes" in str(decision["reasons"])
