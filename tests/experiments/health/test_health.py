"""Health findings and the explanation of results through the API."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.service import FUNNEL, TREND, Service, event, exposure

pytestmark = pytest.mark.one_database


def shown(count: int, variant: str) -> list[dict[str, object]]:
    return [exposure(f"{variant}-{number}", variant) for number in range(count)]


def viewed(count: int, variant: str | None) -> list[dict[str, object]]:
    return [event("$pageview", f"{variant}-{number}", variant=variant) for number in range(count)]


async def experiment_with(service: Service, events: Sequence[dict[str, object]], **fields: Any) -> Any:
    experiment = await service.create_experiment(**{"filters": TREND, **fields})
    for start in range(0, len(events), 500):
        await service.capture(*events[start : start + 500])
    return experiment


async def health(service: Service, experiment: Any) -> Any:
    return await service.read(f"/experiments/{experiment['id']}/health/")


def codes(report: Any) -> list[str]:
    return [finding["code"] for finding in report["findings"]]


async def test_sound_experiment_is_healthy(service: Service) -> None:
    events = [*shown(100, "control"), *shown(104, "test"), *viewed(9, "control"), *viewed(9, "test")]

    report = await health(service, await experiment_with(service, events))

    assert (report["status"], report["findings"]) == ("healthy", [])


async def test_broken_split_is_found_with_its_figures(service: Service) -> None:
    events = [*shown(300, "control"), *shown(150, "test"), *viewed(3, "control"), *viewed(3, "test")]
    experiment = await experiment_with(service, events)

    report = await health(service, experiment)
    results = await service.read(f"/experiments/{experiment['id']}/results/")

    assert (report["status"], codes(report)) == ("unhealthy", ["SRM"])
    assert report["findings"][0]["evidence"]["expected"] == {"control": 225, "test": 225}
    assert report["findings"][0]["actions"]
    assert results["health"] == {
        "status": "unhealthy",
        "findings": [{"code": "SRM", "severity": "critical", "title": "The split is not the planned one"}],
    }


async def test_random_imbalance_is_not_a_finding(service: Service) -> None:
    events = [*shown(240, "control"), *shown(210, "test"), *viewed(3, "control"), *viewed(3, "test")]

    assert codes(await health(service, await experiment_with(service, events))) == []


async def test_findings_name_missing_data(service: Service) -> None:
    experiment = await experiment_with(service, [])
    nothing = await health(service, experiment)
    await service.capture(event("$pageview", "ann"))
    unnamed = await health(service, experiment)
    await service.capture(*(event("$pageview", who, variant="test") for who in ("bob", "cleo")))
    half = await health(service, experiment)

    assert (nothing["status"], codes(nothing)) == ("warning", ["METRIC_NO_EVENTS"])
    assert (unnamed["status"], codes(unnamed)) == ("unhealthy", ["MISSING_FLAG_PROPERTY", "ZERO_EXPOSURES"])
    assert (half["status"], codes(half)) == ("unhealthy", ["NO_CONTROL_VARIANT", "ZERO_EXPOSURES"])


async def test_persons_whom_the_flag_does_not_let_in_are_not_a_warning(service: Service) -> None:
    others = [event("$pageview", f"other-{number}") for number in range(200)]
    parts = [("control", 20), ("test", 20)]
    events = [one for key, count in parts for one in (*shown(count, key), *viewed(count, key))]
    experiment = await experiment_with(service, [*events, *others])
    path = f"/feature_flags/{experiment['feature_flag']}/"
    everyone = await health(service, experiment)

    filters = (await service.read(path))["filters"]
    filters["groups"] = [{"properties": [], "rollout_percentage": 20}]
    assert (await service.patch(path, {"filters": filters})).status_code == 200
    some = await health(service, experiment)

    for report, status in ((everyone, "warning"), (some, "healthy")):
        assert (report["status"], report["findings"][0]["code"]) == (status, "MISSING_FLAG_PROPERTY")
    assert "rightly among them" in some["findings"][0]["detail"]


async def test_draft_is_waiting(service: Service) -> None:
    draft = await experiment_with(service, [], start_date=None, end_date=None)

    report = await health(service, draft)

    assert (report["status"], report["findings"]) == ("waiting", [])


async def test_findings_cover_the_flag(service: Service) -> None:
    experiment = await experiment_with(service, [], end_date=None, start_date="2022-11-01T00:00:00Z")
    flag = await service.read(f"/feature_flags/{experiment['feature_flag']}/")
    filters = flag["filters"]
    variants = filters["multivariate"]["variants"]
    changed = {
        **filters,
        "groups": [*filters["groups"], {"properties": [], "rollout_percentage": 1, "variant": "test"}],
        "multivariate": {
            "variants": [{**variants[0], "rollout_percentage": 90}, {**variants[1], "rollout_percentage": 10}]
        },
    }

    answer = await service.patch(f"/feature_flags/{flag['id']}/", {"filters": changed, "active": False})
    report = await health(service, experiment)

    assert answer.status_code == 200, answer.text
    assert set(codes(report)) >= {"FORCED_VARIANT_RELEASE_CONDITION", "FLAG_STATE", "SPLIT_CHANGED"}
    [split] = [finding for finding in report["findings"] if finding["code"] == "SPLIT_CHANGED"]
    assert [change["who"] for change in split["evidence"]["changes"]] == [service.email]


async def test_persons_in_several_variants_are_a_risk(service: Service) -> None:
    events = [
        *shown(20, "control"),
        *shown(20, "test"),
        exposure("test-0", "control"),
        *viewed(3, "control"),
        *viewed(3, "test"),
    ]

    report = await health(service, await experiment_with(service, events))

    assert codes(report) == ["BIAS_RISK_MULTIPLE_EXCLUDED"]
    assert report["findings"][0]["evidence"] == {"multiple_variants": 1, "persons": 40, "share": 1 / 40}


async def test_results_explain_themselves_when_asked(service: Service) -> None:
    events = [*viewed(3, "control"), *viewed(2, "test"), *viewed(4, None), event("$pageview", "x", variant="gone")]
    experiment = await experiment_with(service, events)

    explained = (await service.read(f"/experiments/{experiment['id']}/results/", explain="true"))["explain"]
    plain = await service.read(f"/experiments/{experiment['id']}/results/")

    assert plain["explain"] is None
    assert explained["counts"] == {
        "unit": "events",
        "variants": {"control": 3, "test": 2},
        "without_variant": 4,
        "unknown_variant": 1,
    }
    assert not any(explained["checks"].values())
    assert explained["variant_property"] == "$feature/checkout"
    assert explained["window"] == {
        "date_from": "2022-11-01T00:00:00+00:00",
        "date_to": "2022-11-15T00:00:00+00:00",
        "timezone": "UTC",
    }
    assert explained["query"] == plain["filters"]


async def test_refusals_explain_themselves_too(service: Service) -> None:
    experiment = await experiment_with(service, viewed(2, "test"))

    refusal = await service.get(f"/experiments/{experiment['id']}/results/", explain="true")
    plain = await service.get(f"/experiments/{experiment['id']}/results/")

    assert (refusal.status_code, plain.status_code) == (400, 400)
    assert refusal.json() | {"explain": None} == plain.json() | {"explain": None}
    assert refusal.json()["explain"]["checks"] == {
        "no_events": False,
        "no_flag_info": False,
        "no_control_variant": True,
        "no_test_variant": False,
    }
    assert "explain" not in plain.json()


async def test_split_is_tested_as_it_was_when_the_experiment_ended(service: Service) -> None:
    events = [*shown(200, "control"), *shown(200, "test"), *viewed(3, "control"), *viewed(3, "test")]
    experiment = await experiment_with(service, events)
    flag = await service.read(f"/feature_flags/{experiment['feature_flag']}/")
    variants = [{**one, "rollout_percentage": share} for one, share in zip(variants_of(flag), (10, 90), strict=True)]

    changed = {"filters": {**flag["filters"], "multivariate": {"variants": variants}}}
    assert (await service.patch(f"/feature_flags/{flag['id']}/", changed)).status_code == 200

    assert codes(await health(service, experiment)) == []


async def test_persons_of_renamed_and_removed_variants_are_named(service: Service) -> None:
    events = [*shown(4, "control"), *shown(3, "test"), *viewed(4, "control"), *viewed(3, "test"), exposure("x", "junk")]
    experiment = await experiment_with(service, events, end_date=None)
    flag = await service.read(f"/feature_flags/{experiment['feature_flag']}/")
    path, filters = f"/experiments/{experiment['id']}", flag["filters"]

    async def with_variants(*keys: str) -> tuple[Any, Any, Any, Any]:
        variants = [{"key": key, "rollout_percentage": 100 // len(keys)} for key in keys]
        changed = {"filters": {**filters, "multivariate": {"variants": variants}}}
        assert (await service.patch(f"/feature_flags/{flag['id']}/", changed)).status_code == 200
        await service.capture(exposure("control-0", keys[0] if keys else "junk", "2022-11-03T09:00:00Z"))
        found = {one["code"]: one for one in (await health(service, experiment))["findings"]}
        answers = [await service.get(f"{path}/{what}/") for what in ("results", "analysis", "exposures")]
        return found.get("LOST_VARIANTS"), *(answer.json() for answer in answers)

    renamed, results, analysis, exposures = await with_variants("control", "treatment")
    assert (renamed["severity"], renamed["evidence"]) == ("critical", {"lost_variants": {"test": 3}})
    lost = "The flag no longer has 'test' (3 persons): what they did is in no figure."
    assert results["detail"] == f"Can't calculate A/B test results for less than 2 variants. {lost}"
    assert [(one["status"], one["detail"]) for one in analysis["metrics"]] == [("insufficient_data", lost)]
    assert analysis["lost_variants"] == exposures["lost_variants"] == {"test": 3}
    assert exposures["accounting"]["unknown_variant"] == 4

    removed, results, analysis, exposures = await with_variants()
    assert removed["evidence"] == {"lost_variants": {"control": 4, "test": 3}}
    assert (results["code"], results["detail"]) == (analysis["code"], analysis["detail"])
    assert results["detail"].startswith("No control variant data found. The flag no longer has 'control' (4 persons), ")

    given_back, results, analysis, _ = await with_variants("control", "test")
    assert given_back is None
    assert ([one["count"] for one in results["variants"]], analysis["lost_variants"]) == ([4, 3], {})


@pytest.mark.each_database
async def test_unreadable_exposure_filter_is_reported_and_ignored(service: Service) -> None:
    own = {"insight": "TRENDS", "events": "nonsense"}
    experiment = await experiment_with(
        service,
        [*viewed(3, "control"), *viewed(3, "test"), *shown(3, "control"), *shown(3, "test")],
        filters=FUNNEL,
        parameters={"custom_exposure_filter": own},
    )

    report = await health(service, experiment)
    results = await service.get(f"/experiments/{experiment['id']}/results/")

    assert (codes(report), results.status_code) == (["EXPOSURE_UNREADABLE"], 200)


async def test_experiment_is_waiting_before_its_start_and_before_data(service: Service) -> None:
    later = await experiment_with(service, [], start_date="2199-01-01T00:00:00Z", end_date=None)
    silent = await experiment_with(service, [], end_date=None, feature_flag_key="silent")

    assert (await health(service, later))["status"] == "waiting"
    assert (await health(service, silent))["status"] == "waiting"


def variants_of(flag: Any) -> Any:
    return flag["filters"]["multivariate"]["variants"]
