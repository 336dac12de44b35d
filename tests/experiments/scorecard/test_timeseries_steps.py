"""The steps of the analysis over time: days, and weeks or months where there would be too many."""

import datetime as dt
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.common.errors import ValidationFailed
from app.experiments.scorecard import counting
from app.experiments.scorecard.steps import MOST_POINTS, STEP_INTERVALS, USUAL_POINTS, StepInterval, choose_steps
from app.metrics.aggregation.calendar import Ticks, ticks
from app.statistics.analysis import analyze_metrics
from app.statistics.results import Analysis, AnalysisConfig
from app.statistics.variants import MetricVariant
from tests.support.service import Json, Service, event

pytestmark = pytest.mark.one_database

# 2022-11-01 is a Tuesday.
START, LAST = "2022-11-01T00:00:00Z", "2026-11-29T23:00:00Z"


def days_of(first: dt.date, count: int) -> Ticks:
    start = dt.datetime.combine(first, dt.time(12), dt.UTC)
    return ticks(start, start + dt.timedelta(days=count - 1), "day", ZoneInfo("UTC"))


@given(
    first=st.dates(dt.date(1975, 1, 1), dt.date(2030, 1, 1)),
    count=st.integers(1, 4000),
    interval=st.sampled_from(STEP_INTERVALS),
)
def test_every_step_but_the_last_ends_where_the_calendar_says(
    first: dt.date, count: int, interval: StepInterval
) -> None:
    days = days_of(first, count)
    if interval == "day" and count > MOST_POINTS:
        return

    steps = choose_steps(days, interval)

    dates = [first + dt.timedelta(days=offset) for offset in range(count)]
    ends = {
        "day": range(count),
        "week": [n for n, date in enumerate(dates) if date.weekday() == 5],
        "month": [n for n, date in enumerate(dates) if (date + dt.timedelta(days=1)).day == 1],
    }[interval]
    assert list(steps.ends) == sorted({*ends, count - 1})


@pytest.mark.parametrize(
    ("count", "interval"),
    [(1, "day"), (USUAL_POINTS, "day"), (USUAL_POINTS + 1, "week"), (1490, "week"), (8355, "month")],
)
def test_the_shortest_interval_with_few_enough_steps_is_usual(count: int, interval: str) -> None:
    steps = choose_steps(days_of(dt.date(2001, 1, 1), count))

    assert steps.interval == interval
    assert len(steps.ends) <= USUAL_POINTS
    assert steps.ends[-1] == count - 1


def test_more_months_than_can_be_shown_are_thinned_and_end_with_the_last() -> None:
    first, last = dt.datetime(1900, 1, 1, tzinfo=dt.UTC), dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    months = ticks(first, last, "month", ZoneInfo("UTC"))

    steps = choose_steps(months)

    assert (steps.interval, steps.ends[-1]) == ("month", len(months) - 1)
    assert len(steps.ends) <= USUAL_POINTS
    with pytest.raises(ValidationFailed, match="choose the interval month"):
        choose_steps(months, "day")


async def read(service: Service, experiment: Json, **parameters: str) -> Json:
    return await service.read(f"/experiments/{experiment['id']}/timeseries_results/", **parameters)


async def test_long_experiment_is_shown_by_week_and_by_the_interval_that_is_asked_for(service: Service) -> None:
    experiment = await service.create_experiment(start_date=START, end_date=LAST)
    await service.capture(
        *(event("$pageview", f"{key}-{n}", variant=key) for key in ("control", "test") for n in range(3)),
        *(event("purchase", f"test-{n}", "2022-11-08T10:00:00Z", variant="test") for n in range(2)),
    )

    usual, by_month = await read(service, experiment), await read(service, experiment, interval="month")
    [metric] = (await service.read(f"/experiments/{experiment['id']}/analysis/"))["metrics"]

    assert (usual["interval"], by_month["interval"]) == ("week", "month")
    assert list(usual["timeseries"])[:2] == ["2022-11-05", "2022-11-12"]
    assert list(by_month["timeseries"])[:2] == ["2022-11-30", "2022-12-31"]
    assert usual["timeseries"]["2022-11-05"]["variants"][1]["sum"] == 0
    assert usual["timeseries"]["2022-11-12"]["variants"][1]["sum"] == 2
    for series in (usual, by_month):
        assert series["timeseries"]["2026-11-29"] == metric["analysis"]
        assert list(series["timeseries"])[-1] == "2026-11-29"


async def test_steps_in_which_no_count_changed_are_not_analyzed_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def analyze(metrics: Sequence[Sequence[MetricVariant]], config: AnalysisConfig, **options: Any) -> list[Analysis]:
        nonlocal calls
        calls += 1
        return analyze_metrics(metrics, config, **options)

    monkeypatch.setattr(counting, "analyze_metrics", analyze)
    experiment = await service.create_experiment()
    await service.capture(
        *(
            event("$pageview", f"{key}-{n}", "2022-11-03T10:00:00Z", variant=key)
            for key in ("control", "test")
            for n in range(3)
        ),
        event("purchase", "test-1", "2022-11-08T10:00:00Z", variant="test"),
    )

    shown = (await read(service, experiment))["timeseries"]

    sums = [day["variants"][1]["sum"] for day in shown.values()]
    assert sums == [0] * (len(sums) - 8) + [1] * 8
    assert calls == 3


@pytest.mark.parametrize(
    ("interval", "detail"),
    [
        ("day", "The experiment has more than 1,000 days: choose the interval week."),
        ("hour", "interval must be one of day, week, month, got 'hour'"),
        ("", "interval must be one of day, week, month, got ''"),
    ],
)
async def test_interval_that_cannot_be_shown_is_refused(service: Service, interval: str, detail: str) -> None:
    experiment = await service.create_experiment(start_date=START, end_date=LAST)

    answer = await service.get(f"/experiments/{experiment['id']}/timeseries_results/", interval=interval)

    assert (answer.status_code, answer.json()["detail"], answer.json()["attr"]) == (400, detail, "interval")
