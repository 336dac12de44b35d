"""Values beyond percentiles of all persons are moved to them (winsorizing), through the API."""

import pytest

from tests.experiments.scorecard.test_typed_metrics import END, at, revenue, sums
from tests.support.service import Service, event, exposure

pytestmark = pytest.mark.one_database


async def test_cap_that_would_make_all_values_zero_is_refused_with_its_remedy(service: Service) -> None:
    events = [exposure(f"p{n}", "test", at(1, "09:00:00")) for n in range(10)]
    events += [event("purchase", "p0", at(1, "10:00:00"), properties={"amount": 5})]
    events += [event("purchase", "p1", at(1, "10:00:00"), properties={"amount": 500})]
    experiment = await service.create_experiment(
        end_date=END,
        filters={},
        metrics=[
            revenue(upper_bound_percentile=0.5),
            revenue(upper_bound_percentile=0.5, ignore_zeros=True),
            revenue(lower_bound_percentile=0.1, upper_bound_percentile=0.3),
        ],
    )
    await service.capture(*events)

    all_zero, capped, both = (await service.read(f"/experiments/{experiment['id']}/analysis/"))["metrics"]

    for one in (all_zero, both):
        assert one["status"] == "unavailable"
        assert "ignore_zeros" in one["detail"]
    assert sums(capped["analysis"])["test"] == [10, 505]  # the position floor(0.5 * 2) of [5, 500] is 500


async def test_day_on_which_a_cap_would_make_all_values_zero_has_no_analysis(service: Service) -> None:
    experiment = await service.create_experiment(
        end_date=END, filters={}, metrics=[revenue(upper_bound_percentile=0.75)]
    )
    people = [(f"{variant}-{number}", variant) for variant in ("control", "test") for number in range(4)]
    await service.capture(
        *(exposure(person, variant, at(1, "09:00:00")) for person, variant in people),
        event("purchase", people[0][0], at(1, "10:00:00"), properties={"amount": 5}),
        *(event("purchase", person, at(3, "10:00:00"), properties={"amount": 7}) for person, _ in people[4:]),
    )

    found = await service.read(f"/experiments/{experiment['id']}/timeseries_results/")

    assert list(found["timeseries"]) == ["2022-11-03", "2022-11-04", "2022-11-05"]


async def test_caps_are_those_of_the_variants_that_are_compared(service: Service) -> None:
    shares = [{"key": key, "rollout_percentage": share} for key, share in (("control", 34), ("test", 33), ("bad", 33))]
    amounts = {"control": [1, 2, 3], "test": [2, 4, 6], "bad": [1000, 2000, 3000]}
    experiment = await service.create_experiment(
        end_date=END,
        filters={},
        metrics=[revenue(upper_bound_percentile=0.5)],
        parameters={"feature_flag_variants": shares},
        stats_config={"excluded_variants": ["bad"]},
    )
    for variant, of_variant in amounts.items():
        for number, amount in enumerate(of_variant):
            person = f"{variant}-{number}"
            bought = event("purchase", person, at(1, "10:00:00"), properties={"amount": amount})
            await service.capture(exposure(person, variant, at(1, "09:00:00")), bought)

    [metric] = (await service.read(f"/experiments/{experiment['id']}/analysis/"))["metrics"]

    assert (metric["capped"]["upper"], metric["capped"]["persons_above"]) == (3, 2)  # of 1, 2, 2, 3, 4, 6
    assert sums(metric["analysis"]) == {"control": [3, 6], "test": [3, 8]}
