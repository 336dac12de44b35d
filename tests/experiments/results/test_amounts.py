"""Trends of amounts, which the rule of 2022 does not judge, beside those of counts."""

from typing import Any

import pytest

from tests.support.service import TREND, Service, event, exposure

pytestmark = [pytest.mark.one_database, pytest.mark.clickhouse]


async def results_of(service: Service, *events: dict[str, Any], **fields: Any) -> Any:
    experiment = await service.create_experiment(**fields)
    for start in range(0, len(events), 500):
        await service.capture(*events[start : start + 500])
    return await service.read(f"/experiments/{experiment['id']}/results/")


@pytest.mark.parametrize(
    ("math", "counts"),
    [
        ({"math": "sum", "math_property": "amount"}, [480, 240]),
        ({"math": "avg", "math_property": "amount"}, [240, 120]),
        ({"math": "max", "math_property": "amount"}, [240, 120]),
        ({"math": "p90", "math_property": "amount"}, [240, 120]),
        ({"math": "sum", "math_property": "loss"}, [-480, -240]),
        ({"math": "avg_count_per_actor"}, [12, 6]),
        ({"math": "unique_session"}, [24, 12]),
        ({"math": "unique_group", "math_group_type_index": 0}, [1, 1]),
        ({"math": "weekly_active"}, [24, 12]),
        ({"math": "sum", "math_property": "$session_duration"}, [0, 0]),
    ],
)
async def test_amounts_are_shown_without_a_verdict(service: Service, math: dict[str, Any], counts: list[int]) -> None:
    """Every value is 20 in both variants, on 12 and on 6 days: as counts, 240 and 120 would be a clear win."""
    days = [("control", day) for day in range(1, 13)] + [("test", day) for day in range(1, 7)]
    results = await results_of(
        service,
        *(exposure(f"{variant} {number}", variant) for variant in ("control", "test") for number in range(100)),
        *(
            event(
                "order",
                f"{variant} {number}",
                f"2022-11-{day:02}T10:00:00Z",
                variant=variant,
                properties={"amount": 20, "loss": -20, "$session_id": f"{variant} {day} {number}"},
            )
            for variant, day in days
            for number in range(2)
        ),
        filters={"insight": "TRENDS", "events": [{"id": "order", **math}]},
    )

    shown = {one["key"]: one["count"] for one in results["variants"]}
    if math["math"] != "weekly_active":
        assert shown == {"control": counts[0], "test": counts[1]}
    assert {one["breakdown_value"]: int(one["count"]) for one in results["insight"]} == shown
    assert (results["significant"], results["significance_code"], results["p_value"]) == (False, "not_comparable", 1.0)
    assert (results["probability"], results["credible_intervals"]) == ({"control": 0.5, "test": 0.5}, {})
    [found] = [one for one in results["health"]["findings"] if one["code"] == "NOT_COMPARABLE"]
    assert (found["severity"], found["title"]) == ("info", "The rule of 2022 has no verdict: see the analysis")


@pytest.mark.parametrize(("math", "code"), [("total", "significant"), ("dau", "high_p_value"), (None, "significant")])
async def test_counts_of_events_and_persons_keep_their_verdict(service: Service, math: str | None, code: str) -> None:
    times = {"control": 1, "test": 3}
    results = await results_of(
        service,
        *(exposure(f"{variant} {number}", variant) for variant in times for number in range(100)),
        *(
            event("order", f"{variant} {number}", f"2022-11-02T{hour:02}:00:00Z", variant=variant)
            for variant, count in times.items()
            for number in range(50 if variant == "control" else 70)
            for hour in range(count)
        ),
        filters={"insight": "TRENDS", "events": [{"id": "order", "math": math}]},
    )

    assert results["significance_code"] == code
    assert "NOT_COMPARABLE" not in {one["code"] for one in results["health"]["findings"]}


async def test_amounts_as_exposure_leave_no_verdict_either(service: Service) -> None:
    own = {"events": [{"id": "seen", "math": "sum", "math_property": "weight"}]}
    results = await results_of(
        service,
        *(event("seen", key, variant=key, properties={"weight": 500}) for key in ("control", "test")),
        *(event("$pageview", key, variant=key) for key in ("control", "test")),
        filters=TREND,
        parameters={"custom_exposure_filter": own},
    )

    assert results["significance_code"] == "not_comparable"
    assert [one["absolute_exposure"] for one in results["variants"]] == [500.0, 500.0]
