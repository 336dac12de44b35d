"""The page of an experiment shows the figures of the API in every state of it, and escapes everything."""

import re
from typing import Any

import pytest

from app.db.database import Database
from tests.experiments.phases.test_circuit_breakers import NOW, breaker, harmed_experiment
from tests.pages.conftest import Page, Visitor, clear_win, send, shown, viewed
from tests.support.service import TREND, Service, event, exposure
from tests.support.upkeep import upkeep_of

pytestmark = pytest.mark.one_database

HOSTILE = "</script><script>alert('1')</script><img src=x onerror=alert(1)> \" & {{ 7 * 7 }}"
VARIANT = "</script><img src=x onerror=alert(1)>"


async def test_funnel_page_shows_the_figures_of_the_api(service: Service, visitor: Visitor) -> None:
    experiment = await clear_win(service)
    path = f"/experiments/{experiment['id']}"

    page = await visitor.look(experiment)

    decision = await service.read(f"{path}/decision/")
    analysis = (await service.read(f"{path}/analysis/"))["metrics"][0]["analysis"]
    assert page.status == 200
    assert decision["recommendation"] == "ship"
    assert decision["summary"] in page.text
    assert all(reason["detail"] in page.text for reason in decision["reasons"])
    assert "All checks passed" in page.text
    assert list(page.charts) == ["densities", "differences", "days", "exposures", "funnel"]
    assert [curve["variant"] for curve in page.charts["densities"]["curves"]] == ["control", "test"]
    [difference] = page.charts["differences"]["rows"]
    test = analysis["variants"][1]
    assert difference["change"] == test["delta_relative"]
    assert difference["anytime"] == test["relative_sequential_interval"]
    assert page.charts["days"]["rows"][-1]["band"] == test["relative_sequential_interval"]
    assert [(bar["variant"], bar["count"]) for bar in page.charts["funnel"]["bars"]] == [
        ("control", 400),
        ("test", 400),
        ("control", 40),
        ("test", 120),
    ]
    assert "test 400 120 30.0%" in page.text


async def test_exposures_are_drawn_beside_the_planned_split(service: Service, visitor: Visitor) -> None:
    experiment = await clear_win(service)

    drawn = (await visitor.look(experiment)).charts["exposures"]

    on_the_day = [bar for bar in drawn["bars"] if bar["day"] == "2022-11-02"]
    assert [(bar["variant"], bar["count"]) for bar in on_the_day] == [("control", 400), ("test", 400)]
    assert drawn["planned"] == [{"day": "2022-11-02", "count": 400.0}]


async def test_page_shows_held_out_persons_and_variants_that_are_not_compared(
    service: Service, visitor: Visitor
) -> None:
    holdout = await service.post("/experiment_holdouts/", {"name": "x", "filters": [{"rollout_percentage": 10}]})
    number = holdout.json()["id"]
    shares = {"control": 40, "test": 30, "big": 30}
    experiment = await service.create_experiment(
        filters=TREND,
        holdout_id=number,
        parameters={"feature_flag_variants": [{"key": key, "rollout_percentage": one} for key, one in shares.items()]},
        stats_config={"excluded_variants": ["big"]},
    )
    named = {"control": 5, "test": 4, "big": 3, f"holdout-{number}": 2}
    await service.capture(*(exposure(f"{name}-{n}", name) for name, count in named.items() for n in range(count)))

    page = await visitor.look(experiment)

    assert "big, planned 30.0%, not compared 3" in page.text
    assert "control, planned 40.0% 5" in page.text
    assert "held out 2" in page.text


async def test_trend_page_shows_means_per_person(service: Service, visitor: Visitor) -> None:
    experiment = await service.create_experiment(filters=TREND)
    await send(service, [*shown(120, "control"), *shown(120, "test")])
    await send(service, [event("$pageview", f"control-{n}", variant="control") for n in range(30)])
    await send(service, [event("$pageview", f"test-{n}", variant="test") for n in range(60)])

    page = await visitor.look(experiment)

    assert list(page.charts) == ["densities", "differences", "days", "exposures"]
    assert "Target metric: Number of $pageview The number of $pageview, a mean over exposed persons" in page.text
    assert "Events per person: what is probable" in page.text
    assert "test 120 60 0.5000" in page.text
    assert "p-value" in page.text or "high_p_value" in page.text or "low_win_probability" in page.text


async def test_page_names_groups_by_their_type_and_withholds_verdicts_on_amounts(
    service: Service, visitor: Visitor
) -> None:
    revenue = {"insight": "TRENDS", "events": [{"id": "order", "math": "sum", "math_property": "amount"}]}
    experiment = await service.create_experiment(filters={**revenue, "aggregation_group_type_index": 0})
    groups = [{"$groups": {"company": f"{variant}-{n}"}} for variant in ("control", "test") for n in range(100)]
    for company in groups:
        key = company["$groups"]["company"]
        answer = {"$feature_flag": "checkout", "$feature_flag_response": key.split("-")[0], **company}
        order = {"$feature/checkout": key.split("-")[0], "amount": 5 + len(key) % 3, **company}
        called = event("$feature_flag_called", f"of {key}", "2022-11-02T09:00:00Z", properties=answer)
        await send(service, [called, event("order", f"of {key}", properties=order)])

    page = await visitor.look(experiment)

    assert "Companies analyzed 200" in page.text
    assert "amount, mean over companies: what is probable" in page.text
    assert "no verdict not_comparable The metric is an amount, and not a count of events or companies" in page.text
    assert page.charts["exposures"]["unit"] == "companies"


async def test_fewer_are_called_best_where_less_is_better(service: Service, visitor: Visitor) -> None:
    refund = {"insight": "TRENDS", "events": [{"id": "refund"}]}
    fewer = {"name": "Refunds", "filters": refund, "role": "guardrail", "goal": "decrease"}
    experiment = await clear_win(service, secondary_metrics=[fewer])
    await send(service, [event("refund", f"control-{n}", "2022-11-03T09:00:00Z", variant="control") for n in range(90)])

    text = (await visitor.look(experiment)).text

    assert text.count("Probability of being best Probability of beating control") == 2
    _, refunds = text.split("Refunds guardrail less is better")
    assert re.search(r"control 400 90 .* baseline under 0\.01% test 400 0 .* over 99\.99% over 99\.99% yes", refunds)


async def test_verdict_of_2022_is_not_taken_for_one_by_the_goal(service: Service, visitor: Visitor) -> None:
    experiment = await service.create_experiment(decision_criteria={"goal": "decrease"})
    views = [*viewed(400, 120, "control"), *viewed(400, 40, "test")]
    await send(service, [*shown(400, "control"), *shown(400, "test"), *views])

    text = (await visitor.look(experiment)).text

    assert re.search(r"Target metric: [^.]+ less is better", text)
    assert re.search(r"Probability of being best .* test 400 40 .* over 99\.99% over 99\.99% yes", text)
    _, old = text.split("The verdict by the rule of 2022")
    assert re.search(r"Probability of being highest control over 99\.99% test under 0\.01%", old)
    assert "The rule of 2022 in results, for which more is better, does not call the difference significant" in text


async def test_page_of_an_experiment_ahead_says_when_it_starts_and_what_is_wrong(
    service: Service, visitor: Visitor
) -> None:
    scheduled = await service.create_experiment(start_date="2199-01-01T00:00:00Z", end_date=None)
    broken = await service.create_experiment(
        feature_flag_key="broken", start_date=None, end_date=None, filters={"insight": "FUNNEL"}
    )

    pages = [(await visitor.look(one)).text for one in (scheduled, broken)]

    assert "It has not started" in pages[0]
    assert "no end" in pages[0]
    assert "The insight 'FUNNEL' cannot be counted" in pages[1]


async def test_draft_page_shows_checklist_and_schedule(service: Service, visitor: Visitor) -> None:
    assert (await service.patch("/", {"timezone": "Europe/Berlin"})).status_code == 200
    schedule = {"start_at": "2199-01-01T09:00:00Z", "ramp": "default"}
    draft = await service.create_experiment(
        start_date=None,
        end_date=None,
        scheduling_config=schedule,
        circuit_breakers=[breaker("pause", metric_uuid="primary")],
    )

    text = (await visitor.look(draft)).text

    assert "recommended The flag is in the code An SDK has not evaluated the flag lately" in text
    assert "done The metrics, the exposure and the flag can be counted" in text
    assert "“Show what it counts today, and plan”, and set “Smallest change worth detecting, in %”." in text
    checklist = text[text.index("Launch checklist") : text.index("Starts 1 Jan")]
    assert not re.search(r"(?<!\S)[a-z.]+_[a-z]|[a-z]/ |GET|POST", checklist)
    assert "Starts 1 Jan 2199, 10:00 (Europe/Berlin) At the start 1% get it After 1 day 5% get it" in text
    history = await visitor.browser.get(f"{visitor.path(draft)}history/")
    assert "Times are in Europe/Berlin" in Page(history).text
    assert "falls by more than 10% the flag is switched off, once 100 are exposed to each variant" in text


async def test_page_shows_what_a_circuit_breaker_did_and_that_exposure_is_frozen(
    service: Service, visitor: Visitor, database: Database
) -> None:
    experiment = await harmed_experiment(service, breaker("notify"))
    await (await upkeep_of(service, database)).step(NOW)
    assert (await service.post(f"/experiments/{experiment['id']}/freeze_exposure/", {})).status_code == 200

    text = (await visitor.look(experiment)).text

    assert "exposure frozen" in text
    assert ": A circuit breaker acted: " in text
    assert "Purchases of test decreased against control by more than the 10% tolerated" in text
    assert "Only persons who were exposed already get a variant" in text


async def test_draft_page_shows_the_plan(service: Service, visitor: Visitor) -> None:
    draft = await service.create_experiment(start_date=None, end_date=None)

    page = await visitor.look(draft)

    assert page.status == 200
    assert "Not launched yet" in page.text
    assert "control Control Group 50.0%" in page.text
    assert page.charts == {}
    assert "<script" not in page.response.text


async def test_page_without_data_shows_the_reason_and_no_charts(service: Service, visitor: Visitor) -> None:
    experiment = await service.create_experiment()

    page = await visitor.look(experiment)

    assert page.status == 200
    assert page.charts == {}
    assert "There are not enough data" in page.text
    assert "The target metric has no events" in page.text


async def test_broken_split_is_shown_as_no_decision(service: Service, visitor: Visitor) -> None:
    experiment = await service.create_experiment()
    await send(service, [*shown(300, "control"), *shown(150, "test"), *viewed(300, 30, "control")])
    await send(service, viewed(150, 40, "test"))

    page = await visitor.look(experiment)

    assert "No decision" in page.text
    assert "unhealthy" in page.text
    assert "critical The split is not the planned one" in page.text
    assert "What to do:" in page.text


async def test_end_with_its_conclusion_and_the_archive_are_shown(service: Service, visitor: Visitor) -> None:
    experiment = await clear_win(service)
    await service.patch(f"/experiments/{experiment['id']}/", {"conclusion": "won", "conclusion_comment": "As we hoped"})
    await service.post(f"/experiments/{experiment['id']}/archive/", {})

    page = await visitor.look(experiment)
    listed = Page(await visitor.browser.get(visitor.path(), params={"archived": "all"}))

    assert "stopped archived won" in page.text
    assert "As we hoped" in page.text
    assert "This experiment is archived" in page.text
    assert "Checkout button stopped archived won" in listed.text


async def test_page_shows_why_an_experiment_cannot_be_analyzed(service: Service, visitor: Visitor) -> None:
    experiment = await service.create_experiment(stats_config={"baseline_variant_key": "nobody"})

    page = await visitor.look(experiment)

    assert page.status == 200
    assert "the baseline 'nobody' is not one of the variants" in page.text


@pytest.mark.parametrize(
    "fields",
    [
        {"filters": {"insight": "TRENDS"}},
        {"filters": {"insight": "FUNNELS", "events": []}},
        {"filters": {"insight": "PATHS", "events": [1, None, {}]}},
        {"secondary_metrics": [1, None, {"name": 5, "filters": 7}, {"filters": {"insight": "LIFECYCLE"}}]},
        {"parameters": {"feature_flag_variants": [{"key": "control", "rollout_percentage": 100}]}},
        {"start_date": "1990-01-01T00:00:00Z", "end_date": "2090-01-01T00:00:00Z"},
        {"start_date": "2022-11-15T00:00:00Z", "end_date": "2022-11-01T00:00:00Z"},
    ],
    ids=str,
)
async def test_odd_experiments_are_shown(service: Service, visitor: Visitor, fields: dict[str, Any]) -> None:
    experiment = await service.create_experiment(**fields)
    await send(service, [*shown(5, "control"), *shown(5, "test"), *viewed(5, 2, "control"), *viewed(5, 1, "test")])

    page = await visitor.look(experiment)

    assert page.status == 200
    assert "Checkout button" in page.text


async def test_long_experiment_is_drawn_in_longer_steps(service: Service, visitor: Visitor) -> None:
    experiment = await clear_win(service, start_date="2022-01-01T00:00:00Z", end_date="2022-12-31T23:00:00Z")

    page = await visitor.look(experiment)

    days = [row["day"] for row in page.charts["days"]["rows"]]
    drawn = page.charts["exposures"]
    assert days[-2:] == ["2022-12-27", "2022-12-31"]
    assert drawn["step"] == 4
    assert len(drawn["bars"]) == 2 * 92
    assert sum(bar["count"] for bar in drawn["bars"]) == 800
    assert "New persons in 4 days" in page.text


@pytest.mark.parametrize("price", [1e140, -1e140, 1e-300, 0.0])
async def test_odd_amounts_are_drawn(service: Service, visitor: Visitor, price: float) -> None:
    metric = {"id": "purchase", "type": "events", "math": "sum", "math_property": "price"}
    experiment = await service.create_experiment(filters={"insight": "TRENDS", "events": [metric]})
    await send(service, [*shown(20, "control"), *shown(20, "test")])
    bought = [event("purchase", f"test-{n}", properties={"price": price * (n + 1)}) for n in range(9)]
    await send(service, [*bought, event("purchase", "control-1", properties={"price": price})])

    page = await visitor.look(experiment)

    assert page.status == 200
    assert "Checkout button" in page.text


async def test_names_are_escaped_everywhere(service: Service, visitor: Visitor) -> None:
    variants = [
        {"key": "control", "rollout_percentage": 50},
        {"key": VARIANT, "name": HOSTILE, "rollout_percentage": 50},
    ]
    experiment = await service.create_experiment(
        name=HOSTILE,
        description=HOSTILE,
        parameters={"feature_flag_variants": variants},
        filters={
            "insight": "FUNNELS",
            "events": [
                {"id": "$pageview", "order": 0, "type": "events"},
                {"id": HOSTILE, "custom_name": HOSTILE, "order": 1, "type": "events"},
            ],
        },
        secondary_metrics=[{"name": HOSTILE, "filters": TREND}],
    )
    bought = [event(HOSTILE, f"{VARIANT}-{n}", "2022-11-03T09:00:00Z") for n in range(9)]
    await send(service, [*shown(20, "control"), *shown(20, VARIANT), *viewed(20, 0, "control")])
    await send(service, [*viewed(20, 0, VARIANT), *bought])

    page, listed = await visitor.look(experiment), await visitor.look()

    assert page.status == 200
    assert HOSTILE in page.text
    assert HOSTILE in listed.text
    assert {bar["variant"] for bar in page.charts["funnel"]["bars"]} == {"control", VARIANT}
    for body in (page.response.text, listed.response.text):
        assert "</script><" not in body
        assert "<img" not in body
        assert "onerror=alert(1)>" not in body
