"""Circuit breakers act on what the anytime-valid interval shows, once, and what they did can be seen and taken back."""

import asyncio
import datetime as dt
from typing import Any

import pytest

from app.analysis.config_schemas import StatsConfig
from app.analysis.service import read_config
from app.db.database import Database
from app.experiments.automation.schemas import CircuitBreaker
from app.experiments.phases.upkeep import find_harm
from app.statistics.analysis import analyze_metric
from app.statistics.variants import FunnelVariant
from tests.experiments.phases.test_schedule import activities, read
from tests.support.service import Json, Service, event, exposure
from tests.support.stored_experiments import only_flag
from tests.support.upkeep import upkeep_of

METRIC = {
    "kind": "ExperimentMetric",
    "uuid": "5d1c5a0a-2c55-4f0e-9c0a-0f4f8f6f7d22",
    "name": "Purchases",
    "metric_type": "mean",
    "source": {"kind": "EventsNode", "event": "purchase", "math": "dau"},
}
PERSONS = 150
NOW = dt.datetime(2022, 11, 10, tzinfo=dt.UTC)


def breaker(action: str, **changes: Any) -> Json:
    return {
        "metric_uuid": METRIC["uuid"],
        "direction": "decrease",
        "threshold_relative": 0.1,
        "min_exposures": 100,
        "action": action,
        **changes,
    }


async def harmed_experiment(service: Service, *breakers: Json, **fields: Any) -> Json:
    """Start an experiment in which 120 of 150 persons of control buy, and 30 of 150 of test."""
    experiment = await service.create_experiment(
        end_date=None, metrics_secondary=[METRIC], circuit_breakers=list(breakers), **fields
    )
    events = []
    for variant, buyers in (("control", 120), ("test", 30)):
        events += [exposure(f"{variant}-{number}", variant) for number in range(PERSONS)]
        events += [event("purchase", f"{variant}-{number}") for number in range(buyers)]
    await service.capture(*events)
    return experiment


async def breaker_findings(service: Service, experiment: Json) -> list[Json]:
    findings = (await service.read(f"/experiments/{experiment['id']}/health/"))["findings"]
    return [one for one in findings if one["code"] == "CIRCUIT_BREAKER"]


async def test_harm_pauses_the_experiment_once_by_however_many_processes(service: Service, database: Database) -> None:
    experiment = await harmed_experiment(service, breaker("pause"))

    await asyncio.gather(*[(await upkeep_of(service, database)).step(NOW) for _ in range(3)])

    paused = await read(service, experiment)
    assert (paused["status"], (await only_flag(database, service))["active"]) == ("paused", False)
    assert [name for name, _ in await activities(service, experiment)] == ["created", "paused"]
    [action] = paused["automatic_actions"]
    assert (action["kind"], action["variant"], action["exposed"]) == ("circuit_breaker", "test", 300)
    assert action["interval"][1] < -0.1
    [finding] = await breaker_findings(service, experiment)
    assert (finding["subcode"], finding["severity"]) == ("pause", "critical")
    assert "Purchases of test decreased against control" in finding["detail"]


async def test_resumed_experiment_is_not_paused_again_until_the_breaker_is_changed(
    service: Service, database: Database
) -> None:
    experiment = await harmed_experiment(service, breaker("pause"))
    upkeep, path = await upkeep_of(service, database), f"/experiments/{experiment['id']}/"
    await upkeep.step(NOW)

    assert (await service.post(f"{path}resume/", {})).json()["status"] == "running"
    await upkeep.step(NOW)
    assert (await read(service, experiment))["status"] == "running"
    assert (await breaker_findings(service, experiment))[0]["severity"] == "warning"
    await service.patch(path, {"circuit_breakers": [breaker("pause", threshold_relative=0.2)]})
    await upkeep.step(NOW)

    assert (await read(service, experiment))["status"] == "paused"


@pytest.mark.one_database
async def test_control_only_gives_everyone_the_baseline_until_the_experiment_is_resumed(
    service: Service, database: Database
) -> None:
    experiment = await harmed_experiment(service, breaker("control_only"))
    before = (await only_flag(database, service))["filters"]

    await (await upkeep_of(service, database)).step(NOW)

    held, stored = await read(service, experiment), await only_flag(database, service)
    assert (held["status"], stored["active"]) == ("paused", True)
    assert held["baseline_hold"]["variant_key"] == "control"
    assert await variants_of(service, 5) == {"control"}
    listed = (await service.read("/experiments/", status="paused"))["results"]
    assert [one["id"] for one in listed] == [experiment["id"]]
    assert [name for name, _ in await activities(service, experiment)] == ["created", "held_at_baseline"]
    [finding] = await breaker_findings(service, experiment)
    assert (finding["subcode"], finding["severity"]) == ("control_only", "critical")
    resumed = (await service.post(f"/experiments/{experiment['id']}/resume/", {})).json()
    assert (resumed["status"], resumed["baseline_hold"]) == ("running", None)
    assert (await only_flag(database, service))["filters"] == before
    assert await variants_of(service, 20) == {"control", "test"}


async def test_held_experiment_that_is_reset_and_launched_serves_its_split_again(
    service: Service, database: Database
) -> None:
    experiment = await harmed_experiment(
        service, breaker("control_only"), scheduling_config={"ramp": [{"after_hours": 0, "rollout_percentage": 40}]}
    )
    before = (await only_flag(database, service))["filters"]
    await (await upkeep_of(service, database)).step(NOW)

    for action in ("reset", "launch"):
        response = await service.post(f"/experiments/{experiment['id']}/{action}/", {})
        assert response.status_code == 200, response.text

    assert (response.json()["status"], response.json()["baseline_hold"]) == ("running", None)
    assert (await only_flag(database, service))["filters"] == before


async def variants_of(service: Service, persons: int) -> set[object]:
    found = set()
    for number in range(persons):
        body = {"api_key": service.token, "distinct_id": f"visitor-{number}"}
        answer = (await service.client.post("/flags/?v=2", json=body)).json()
        found.add(answer["flags"]["checkout"]["variant"])
    return found


@pytest.mark.one_database
async def test_notice_of_harm_changes_nothing(
    service: Service, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = await harmed_experiment(service, breaker("notify"))

    await (await upkeep_of(service, database)).step(NOW)

    assert (await read(service, experiment))["status"] == "running"
    assert "circuit breaker of experiment" in caplog.text
    assert [one["subcode"] for one in await breaker_findings(service, experiment)] == ["notify"]


@pytest.mark.parametrize("changes", [{"min_exposures": 151}, {"direction": "increase"}, {"threshold_relative": 0.9}])
async def test_breaker_waits_while_its_rule_is_not_met(service: Service, database: Database, changes: Json) -> None:
    experiment = await harmed_experiment(service, breaker("pause", **changes))

    await (await upkeep_of(service, database)).step(NOW)

    assert (await read(service, experiment))["status"] == "running"


def test_harm_is_decided_by_the_anytime_interval_and_not_by_a_single_look() -> None:
    config = read_config(StatsConfig(method="frequentist"))
    rule = CircuitBreaker(
        metric_uuid="primary", direction="decrease", threshold_relative=0, min_exposures=1, action="pause"
    )
    variants = [FunnelVariant("control", 220, 780), FunnelVariant("test", 180, 820)]

    analysis = analyze_metric(variants, config)

    [test] = [one for one in analysis.variants if not one.is_baseline]
    single, anytime = test.relative_difference.confidence_interval, test.relative_difference.sequential_interval
    assert single is not None
    assert anytime is not None
    assert single[1] < 0 < anytime[1]
    assert find_harm(rule, "Purchases", analysis) is None
    far = analyze_metric([variants[0], FunnelVariant("test", 100, 900)], config)
    assert find_harm(rule, "Purchases", far) is not None


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metric_uuid": "revenue"}, "no metric 'revenue'"),
        ({"action": "stop"}, "pause"),
        ({"threshold": 1}, "threshold"),
        ({"min_exposures": 0}, "1"),
    ],
)
async def test_breaker_that_is_not_understood_is_refused(service: Service, changes: Json, said: str) -> None:
    experiment = await service.create_experiment(end_date=None, metrics_secondary=[METRIC])

    refused = await service.patch(
        f"/experiments/{experiment['id']}/", {"circuit_breakers": [{**breaker("pause"), **changes}]}
    )

    assert refused.status_code == 400
    assert said in refused.json()["detail"]
    assert refused.json()["attr"].startswith("circuit_breakers")
    assert (await read(service, experiment))["circuit_breakers"] is None
