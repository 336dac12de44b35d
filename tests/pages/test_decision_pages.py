"""Pages say what `decision` says, in every state of an experiment."""

import datetime as dt
import re
from typing import Any

import pytest

from tests.pages.conftest import Visitor, clear_win, send, shown, viewed
from tests.support.service import Service, event

pytestmark = pytest.mark.one_database

RUNNING: dict[str, object] = {"start_date": "2022-11-01T00:00:00Z", "end_date": None}


async def draft(service: Service) -> Any:
    return await service.create_experiment(start_date=None, end_date=None)


async def scheduled(service: Service) -> Any:
    return await service.create_experiment(start_date="2199-01-01T00:00:00Z", end_date=None)


async def silent(service: Service) -> Any:
    return await service.create_experiment(**RUNNING)


async def paused(service: Service) -> Any:
    experiment = await service.create_experiment(**RUNNING)
    await service.post(f"/experiments/{experiment['id']}/pause/", {})
    return experiment


async def ending_later(service: Service) -> Any:
    return await clear_win(service, start_date="2022-11-01T00:00:00Z", end_date="2199-01-01T00:00:00Z")


async def losing(service: Service) -> Any:
    experiment = await service.create_experiment()
    await send(service, [*shown(400, "control"), *shown(400, "test")])
    await send(service, [*viewed(400, 120, "control"), *viewed(400, 40, "test")])
    return experiment


async def shipped(service: Service) -> Any:
    experiment = await clear_win(service)
    body = {"variant_key": "control", "conclusion": "stopped_early"}
    assert (await service.post(f"/experiments/{experiment['id']}/ship_variant/", body)).status_code == 200
    return experiment


async def concluded(service: Service) -> Any:
    experiment = await losing(service)
    await service.patch(f"/experiments/{experiment['id']}/", {"conclusion": "won"})
    return experiment


@pytest.mark.parametrize(
    ("state", "recommendation", "variant", "told"),
    [
        (draft, "wait", None, "nothing to decide before it is launched"),
        (scheduled, "wait", None, "It has not started"),
        (silent, "wait", None, "There are no data yet"),
        (paused, "resume", None, "It is paused, and has no data"),
        (ending_later, "ship", "test", "Ship test."),
        (losing, "rollback", "control", "Go back to control."),
        (shipped, "decided", "control", "control was shipped to everyone. Its conclusion: stopped early."),
        (concluded, "decided", "test", "It was concluded as won. test is the variant to serve."),
    ],
)
async def test_page_says_what_the_decision_says(
    service: Service, visitor: Visitor, state: Any, recommendation: str, variant: str | None, told: str
) -> None:
    experiment = await state(service)

    decision = await service.read(f"/experiments/{experiment['id']}/decision/")
    text = (await visitor.look(experiment)).text

    assert (decision["recommendation"], decision["variant_key"]) == (recommendation, variant)
    assert told in decision["summary"]
    assert decision["summary"].replace("`", "") in text
    assert decision["title"] in text
    assert "Keep it running" not in text
    if state not in (draft, scheduled):
        assert decision["rule"]["basis"] == "anytime_valid"
        assert decision["rule"]["detail"] in text


async def test_endless_experiment_is_told_once(service: Service, visitor: Visitor) -> None:
    start = dt.datetime.now(dt.UTC) - dt.timedelta(days=10)
    day = (start + dt.timedelta(days=1)).isoformat()
    experiment = await service.create_experiment(
        start_date=start.isoformat(), end_date=None, decision_criteria={"target_mde": 0.01}
    )
    await send(service, [{**one, "timestamp": day} for key in ("control", "test") for one in shown(100, key)])
    await send(service, [{**one, "timestamp": day} for key in ("control", "test") for one in viewed(100, 20, key)])

    decision = await service.read(f"/experiments/{experiment['id']}/decision/")
    report = await service.read(f"/experiments/{experiment['id']}/health/")
    text = (await visitor.look(experiment)).text

    assert decision["progress"]["estimated_days_left"] is None
    [long] = [finding for finding in report["findings"] if finding["code"] == "UNDERPOWERED"]
    assert long["evidence"] == {"days_left": None}
    assert text.count("more than ten years at this pace") == 1
    assert "3650" not in text + decision["summary"] + str(decision["reasons"])


async def test_experiment_that_is_decided_is_not_said_to_take_long(service: Service) -> None:
    start = dt.datetime.now(dt.UTC) - dt.timedelta(days=10)
    experiment = await service.create_experiment(
        start_date=start.isoformat(), end_date=None, decision_criteria={"target_mde": 0.01}
    )
    for key, buyers in (("control", 20), ("test", 70)):
        events = [*shown(100, key), *viewed(100, buyers, key)]
        await send(service, [{**one, "timestamp": (start + dt.timedelta(days=1)).isoformat()} for one in events])

    decision = await service.read(f"/experiments/{experiment['id']}/decision/")
    report = await service.read(f"/experiments/{experiment['id']}/health/")

    assert (decision["recommendation"], report["findings"]) == ("ship", [])


async def test_target_metric_has_one_interval_of_its_mean(service: Service, visitor: Visitor) -> None:
    metric = {"id": "purchase", "type": "events", "math": "sum", "math_property": "price"}
    experiment = await service.create_experiment(filters={"insight": "TRENDS", "events": [metric]})
    await send(service, [*shown(120, "control"), *shown(120, "test")])
    for key in ("control", "test"):
        bought = [event("purchase", f"{key}-{n}", variant=key, properties={"price": 900.0 + n}) for n in range(60)]
        await send(service, bought)

    text = re.sub(r"The same as a table.*?(?=Who was exposed)", "", (await visitor.look(experiment)).text)

    assert text.count("price per person, with 95% credible interval") == 1
    verdict = text[text.index("The verdict by the rule of 2022") :]
    assert "interval" not in verdict


async def test_planned_share_is_that_of_the_experiment_and_not_of_the_shipped_flag(
    service: Service, visitor: Visitor
) -> None:
    page = await visitor.look(await shipped(service))

    assert "control, planned 50.0%" in page.text
    assert page.charts["exposures"]["planned"] == [{"day": "2022-11-02", "count": 400.0}]
