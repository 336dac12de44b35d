"""Other looks at an experiment: the figures are those that the API has for the same settings."""

import re
from typing import Any

import pytest

from app.pages.exploring.lines import Point, draw
from app.pages.formatting import format_change, format_number
from tests.pages.conftest import Page, Visitor, clear_win, send, shown, viewed
from tests.support.service import TREND, Service

pytestmark = pytest.mark.one_database


async def explore(visitor: Visitor, experiment: Any, **query: str) -> Page:
    return Page(await visitor.browser.get(f"{visitor.path(experiment)}explore/", params=query))


async def test_better_is_less_where_the_page_says_so(service: Service, visitor: Visitor) -> None:
    experiment = await clear_win(service, decision_criteria={"goal": "decrease"})

    text = (await explore(visitor, experiment)).text

    assert "less is better" in text
    assert re.search(r"test 400 30\.0% .* under 0\.01% yes", text)


async def test_chosen_baseline_level_and_difference_are_those_of_the_analysis(
    service: Service, visitor: Visitor
) -> None:
    experiment = await clear_win(service)
    settings = {"stats_config": {"baseline_variant_key": "test", "confidence_level": 0.8}}

    relative = await explore(visitor, experiment, baseline="test", level="80")
    absolute = await explore(visitor, experiment, baseline="test", level="80", difference="absolute")

    before = await service.read(f"/experiments/{experiment['id']}/")
    await service.patch(f"/experiments/{experiment['id']}/", settings)
    [metric] = (await service.read(f"/experiments/{experiment['id']}/analysis/"))["metrics"]
    control = next(one for one in metric["analysis"]["variants"] if one["key"] == "control")
    assert before["stats_config"] is None
    assert "80% credible interval" in relative.text
    assert f"control 400 10.0% {format_change(control['delta_relative'])}" in relative.text
    low, high = control["relative_sequential_interval"]
    assert f"{format_change(low)} to {format_change(high)}" in relative.text
    assert f"control 400 10.0% {format_number(100 * control['delta'])} points" in absolute.text


async def test_time_series_of_any_metric_is_drawn_without_a_script(service: Service, visitor: Visitor) -> None:
    experiment = await clear_win(service, secondary_metrics=[{"name": "Views", "filters": TREND}])

    page = await explore(visitor, experiment, metric="secondary-0", variant="test")

    assert '<option value="secondary-0" selected>Views</option>' in page.response.text
    assert page.response.text.count('<polyline class="line"') == 1
    assert "<script" not in page.response.text
    series = await service.read(f"/experiments/{experiment['id']}/timeseries_results/", metric="secondary-0")
    days = re.findall(r'<th scope="row">(2022-\d\d-\d\d)</th>', page.response.text)
    known = [day for day, one in series["timeseries"].items() if one["variants"][1]["delta_relative"] is not None]
    assert days == known


async def test_breakdown_has_an_analysis_of_every_value(service: Service, visitor: Visitor) -> None:
    experiment = await service.create_experiment()
    events = [*shown(40, "control"), *shown(40, "test"), *viewed(40, 4, "control"), *viewed(40, 12, "test")]
    for number, one in enumerate(events):
        one["properties"] = {**one["properties"], "$browser": "Firefox" if number % 2 else "Safari"}  # type: ignore[dict-item]
    await send(service, events)

    page = await explore(visitor, experiment, breakdown="$browser", of="event", by="exposure", metric="primary")

    headings = re.findall(r'<h3 dir="auto">([^<]*)</h3>', page.response.text)
    assert page.status == 200
    assert sorted(headings) == ["Firefox", "Safari"], page.text


@pytest.mark.parametrize(
    "query",
    [
        {"baseline": "nobody", "variant": "\x00", "level": "99.9999", "metric": "secondary-7", "difference": "x"},
        {"breakdown": "x" * 1000},
        {"breakdown": "a", "of": "planet"},
        {"breakdown": "\x00"},
    ],
)
async def test_what_is_not_understood_is_said_or_means_the_default(
    service: Service, visitor: Visitor, query: dict[str, str]
) -> None:
    experiment = await clear_win(service)

    page = await explore(visitor, experiment, **query)

    assert page.status == 200
    assert "test 400 30.0%" in page.text
    assert ('role="alert"' in page.response.text) is ("breakdown" in query)
    assert "breakdown" not in page.text


async def test_draft_has_nothing_to_explore(service: Service, visitor: Visitor) -> None:
    experiment = await service.create_experiment(start_date=None, end_date=None)

    assert "It is not launched yet." in (await explore(visitor, experiment)).text


@pytest.mark.parametrize("size", [1, 2, 500])
@pytest.mark.parametrize("scale", [0.0, 1e-9, 1.0, 1e300])
def test_picture_stays_inside_its_frame(size: int, scale: float) -> None:
    points = [
        Point(f"day {day}", "test", scale * (-1) ** day / (day + 1), (-scale * 5, scale * 5)) for day in range(size)
    ]

    chart = draw(points, format_change)

    assert chart is not None
    [line] = chart.lines
    assert len(set(line.line.split())) == max(size, 2)  # one day is a stub, which can be seen
    spots = [tuple(map(float, spot.split(","))) for spot in f"{line.line} {line.band}".split()]
    assert all(0 <= x <= 720 and 0 <= y <= 280 for x, y in spots)
    assert 1 <= len(chart.ticks) <= 12
    assert len(chart.days) <= 7
