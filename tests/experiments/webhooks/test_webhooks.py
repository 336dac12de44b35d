"""Receivers learn what happens to experiments: once for each change, signed, at least once, and nobody else does."""

import dataclasses
import datetime as dt
import hashlib
import hmac
import ipaddress
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select

from app.common import limits
from app.db.database import Database
from app.db.models import WebhookDelivery, utc_now
from app.experiments.webhooks.addresses import is_allowed
from app.experiments.webhooks.delivery import PAUSES, Deliverer
from app.experiments.webhooks.events import EVENTS
from app.experiments.webhooks.repository import DeliveryQueue
from app.experiments.webhooks.sending import Sender
from app.experiments.webhooks.signing import sign
from tests.conftest import new_service
from tests.pages.conftest import Visitor
from tests.support.service import Json, Service
from tests.support.webhook_receiver import Receiver, receiving

pytestmark = pytest.mark.one_database

SECRET = "a-secret-of-the-test"  # noqa: S105
LOOPBACK = [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1")]


class Clock:
    def __init__(self) -> None:
        self.ahead = dt.timedelta()

    def __call__(self) -> dt.datetime:
        return utc_now() + self.ahead

    def pass_seconds(self, seconds: float) -> None:
        self.ahead += dt.timedelta(seconds=seconds)


@asynccontextmanager
async def hooked(
    service: Service, database: Database, *statuses: int | None, **fields: Any
) -> AsyncIterator[tuple[Receiver, Deliverer, Clock, Json]]:
    """Start a receiver, and make a webhook for it."""
    clock = Clock()
    async with receiving(*statuses) as receiver:
        body = {"url": receiver.url, "secret": SECRET, **fields}
        created = await service.post("/experiment_webhooks/", body)
        assert created.status_code == 201, created.text
        yield receiver, Deliverer(database, Sender(LOOPBACK), clock), clock, created.json()


async def deliver_due(deliverer: Deliverer) -> None:
    await deliverer.finish_begun()
    while await deliverer.begin_due():
        await deliverer.finish_begun()


async def deliveries(service: Service, webhook: Json) -> list[Json]:
    found: list[Json] = (await service.read(f"/experiment_webhooks/{webhook['id']}/deliveries/"))["results"]
    return found


def events(receiver: Receiver) -> list[str]:
    return [json.loads(one.body)["event"] for one in receiver.received]


@pytest.mark.own_database
async def test_each_change_of_state_is_told_once_and_signed(service: Service, database: Database) -> None:
    async with hooked(service, database) as (receiver, deliverer, _, webhook):
        experiment = await service.create_experiment(start_date=None, end_date=None)
        path = f"/experiments/{experiment['id']}/"
        await service.patch(path, {"name": "Larger button"})
        await service.patch(path, {"name": "Larger button"})  # which changes nothing
        for action in ("launch", "pause", "resume", "end"):
            assert (await service.post(f"{path}{action}/", {})).status_code == 200, action
        assert (await service.post(f"{path}ship_variant/", {"variant_key": "test"})).status_code == 200
        assert (await service.delete(path)).status_code == 204
        await deliver_due(deliverer)

        names = ["created", "updated", "launched", "paused", "updated", "ended", "shipped", "deleted"]
        assert events(receiver) == [f"experiment.{name}" for name in names]
        assert {one["status"] for one in await deliveries(service, webhook)} == {"delivered"}

    launched = receiver.received[2]
    document = json.loads(launched.body)
    assert document["experiment"]["name"] == "Larger button"
    assert (document["data"]["previous_status"], document["experiment"]["status"]) == ("draft", "running")
    assert document["data"]["changed_by"]["email"] == service.email
    assert "start_date" in document["data"]["changed_fields"]
    assert (launched.target, launched.headers["host"]) == ("/hook?source=abacus", f"localhost:{receiver.port}")
    assert (launched.headers["x-event-id"], launched.headers["x-abacus-event"]) == (
        document["id"],
        "experiment.launched",
    )
    stamp, _, signature = launched.headers["x-abacus-signature"].partition(",v1=")
    signed = f"{stamp.removeprefix('t=')}.".encode() + launched.body
    assert signature == hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()


async def test_a_draft_that_follows_the_variants_of_its_flag_is_told(service: Service, database: Database) -> None:
    """By the API and by a page; a flag that changes otherwise, or that no plan follows, is not news of experiments."""
    visitor = Visitor(service.client, service.project_id)
    assert (await visitor.sign_in(service.key)).status_code == 303
    variants = [{"key": key, "rollout_percentage": 50} for key in ("control", "test")]
    unequal = [{"key": "control", "rollout_percentage": 70}, {"key": "test", "rollout_percentage": 30}]
    planned = {"start_date": None, "end_date": None, "parameters": {"feature_flag_variants": variants}}
    async with hooked(service, database, events=["experiment.updated"]) as (receiver, deliverer, _, _webhook):
        draft = await service.create_experiment(**planned)
        unplanned = await service.create_experiment(start_date=None, end_date=None, feature_flag_key="other")
        for one in (draft, unplanned):
            path = f"/feature_flags/{one['feature_flag']}/"
            filters = {**(await service.read(path))["filters"], "multivariate": {"variants": unequal}}
            assert (await service.patch(path, {"filters": filters, "key": f"{one['id']}"})).status_code == 200
            assert (await service.patch(path, {"name": "Mine"})).status_code == 200
        split = {"rollout0": "100", "share0": "20", "share1": "80"}
        page = f"{visitor.path()}flags/{draft['feature_flag']}/"
        assert (await visitor.browser.post(page, data=split)).status_code == 303
        await deliver_due(deliverer)

    told = [json.loads(one.body) for one in receiver.received]
    assert [(one["event"], one["experiment"]["id"]) for one in told] == [("experiment.updated", draft["id"])] * 2
    assert told[0]["experiment"]["feature_flag_key"] == str(draft["id"])
    assert told[0]["data"] == {
        "activity": "updated",
        "previous_status": "draft",
        "changed_fields": ["parameters"],
        "changed_by": {"id": told[0]["data"]["changed_by"]["id"], "email": service.email},
    }


def test_signature_is_that_of_the_time_and_the_body() -> None:
    expected = hmac.new(b"key", b'17.{"a":1}', hashlib.sha256).hexdigest()

    assert sign("key", 17, b'{"a":1}') == f"t=17,v1={expected}"


async def test_event_is_stored_in_the_transaction_of_its_change(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hooked(service, database) as (_, _, _, webhook):
        await service.create_experiment()
        refused = await service.post("/experiments/", {"name": "Again", "feature_flag_key": "checkout", "filters": {}})
        assert refused.status_code == 400

        async def fail(*_: Any) -> None:
            raise RuntimeError("the transaction fails at its end")

        monkeypatch.setattr("app.experiments.router.answer_experiment", fail)
        failed = await service.post("/experiments/", {"name": "Late", "feature_flag_key": "late", "filters": {"a": 1}})
        assert failed.status_code == 500

        told = [json.loads(one["body"])["experiment"]["name"] for one in await deliveries(service, webhook)]
        assert told == ["Checkout button"]


@pytest.mark.own_database
async def test_failed_attempts_are_repeated_with_growing_pauses_until_one_is_taken(
    service: Service, database: Database
) -> None:
    async with hooked(service, database, 500, 302, events=["experiment.created"]) as hooks:
        receiver, deliverer, clock, webhook = hooks
        await service.create_experiment()
        for pause in (0, PAUSES[0] / 2, PAUSES[0] / 2, PAUSES[1]):
            clock.pass_seconds(pause)
            await deliver_due(deliverer)

        assert len(receiver.received) == 3  # not one before its time
        assert len({one.headers["x-event-id"] for one in receiver.received}) == 1
        assert len({one.body for one in receiver.received}) == 1
        [delivery] = await deliveries(service, webhook)
        assert (delivery["status"], delivery["attempts"], delivery["response_status"]) == ("delivered", 3, 200)


@pytest.mark.own_database
async def test_delivery_is_given_up_after_the_last_attempt(service: Service, database: Database) -> None:
    attempts = len(PAUSES) + 1
    async with hooked(service, database, *[302] * attempts, events=["experiment.created"]) as hooks:
        receiver, deliverer, clock, webhook = hooks
        await service.create_experiment()
        for pause in (0, *PAUSES, 1_000_000):
            clock.pass_seconds(pause)
            await deliver_due(deliverer)

        assert len(receiver.received) == attempts
        [delivery] = await deliveries(service, webhook)
        assert (delivery["status"], delivery["attempts"], delivery["next_attempt_at"]) == ("failed", attempts, None)
        assert delivery["error"] == "The receiver answered 302. Redirects are not followed."


@pytest.mark.each_database
@pytest.mark.own_database
async def test_two_processes_send_a_delivery_once_and_a_lost_claim_is_taken_up(
    service: Service, database: Database
) -> None:
    async with hooked(service, database, events=["experiment.created"]) as (receiver, deliverer, clock, _):
        other = Deliverer(database, Sender(LOOPBACK), clock)
        await service.create_experiment()
        async with database.write() as session:  # of a process that ends before it has sent anything
            found = await session.scalar(select(WebhookDelivery))
            assert found is not None
            found.attempts, found.next_attempt_at = 1, clock() + dt.timedelta(seconds=60)
        await deliver_due(deliverer)
        assert receiver.received == []

        clock.pass_seconds(61)
        begun = await deliverer.begin_due(), await other.begin_due()
        await deliver_due(deliverer)
        await deliver_due(other)

        assert (begun, len(receiver.received)) == ((1, 0), 1)


@pytest.mark.own_database
async def test_receiver_that_does_not_answer_does_not_hold_others(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.experiments.webhooks.sending.WEBHOOK_TIMEOUT", 2.0)
    only = ["experiment.created"]
    async with hooked(service, database, None, events=only) as (silent, deliverer, _, webhook):
        async with receiving() as quick:
            await service.post("/experiment_webhooks/", {"url": quick.url, "events": only})
            await service.create_experiment()
            await service.create_experiment(feature_flag_key="second")
            await deliver_due(deliverer)

            assert (len(silent.received), len(quick.received)) == (2, 2)
        failed = [one for one in await deliveries(service, webhook) if one["error"]]
        assert [one["error"] for one in failed] == ["The receiver did not answer within 10 seconds."]


@pytest.mark.own_database
async def test_a_process_delivers_to_a_number_of_webhooks_at_a_time(service: Service, database: Database) -> None:
    most = limits.WEBHOOKS_AT_A_TIME.value
    async with hooked(service, database, events=["experiment.created"]) as (receiver, deliverer, _, _):
        for _ in range(most):
            await service.post("/experiment_webhooks/", {"url": receiver.url, "events": ["experiment.created"]})
        await service.create_experiment()

        begun = await deliverer.begin_due(), await deliverer.begin_due()
        await deliver_due(deliverer)

        assert (begun, len(receiver.received)) == ((most, 0), most + 1)


@pytest.mark.own_database
async def test_the_backlog_of_a_project_does_not_delay_another(
    service: Service, client: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WEBHOOKS_AT_A_TIME", dataclasses.replace(limits.WEBHOOKS_AT_A_TIME, value=2))
    only, other = ["experiment.created"], await new_service(client, database)
    async with hooked(service, database, events=only) as (crowded, deliverer, _, _), receiving() as quick:
        for _ in range(3):
            await service.post("/experiment_webhooks/", {"url": crowded.url, "events": only})
        await other.post("/experiment_webhooks/", {"url": quick.url, "events": only})
        for number in range(3):
            await service.create_experiment(feature_flag_key=f"flag-{number}")
        await other.create_experiment()

        await deliverer.begin_due()
        await deliverer.finish_begun()

        assert (len(crowded.received), len(quick.received)) == (1, 1)
        await deliver_due(deliverer)
        assert len(crowded.received) == 12


@pytest.mark.each_database
@pytest.mark.own_database
async def test_projects_with_the_fewest_attempts_under_way_come_first(
    service: Service, client: httpx.AsyncClient, database: Database
) -> None:
    only, other = ["experiment.created"], await new_service(client, database)
    hook = {"url": "https://hooks.example.com", "events": only}
    made = [(await one.post("/experiment_webhooks/", hook)).json()["id"] for one in (service, service, other)]
    for one in (service, other):
        await one.create_experiment()

    async with database.read() as session:
        [due] = await DeliveryQueue(session).due(utc_now(), {made[0]: service.project_id}, 1)
        delivery = await session.get(WebhookDelivery, due)

    assert delivery is not None
    assert delivery.webhook_id == made[2]


@pytest.mark.parametrize(
    ("address", "is_public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("::ffff:93.184.216.34", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),  # metadata of clouds
        ("fd00:ec2::254", False),
        ("168.63.129.16", False),
        ("100.100.100.200", False),
        ("0.0.0.0", False),  # noqa: S104
        ("224.0.1.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::127.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
        ("fe80::1", False),
        ("fec0::1", False),
        ("fc00::1", False),
        ("ff02::1", False),
    ],
)
def test_only_public_addresses_are_allowed(address: str, *, is_public: bool) -> None:
    assert is_allowed(ipaddress.ip_address(address), []) is is_public


def test_an_allowed_network_allows_its_addresses_alone() -> None:
    network = [ipaddress.ip_network("10.1.0.0/16")]
    tried = ("10.1.2.3", "::ffff:10.1.2.3", "10.2.0.1", "127.0.0.1", "::1")

    assert [is_allowed(ipaddress.ip_address(one), network) for one in tried] == [True, True, False, False, False]


async def test_name_that_resolves_to_a_private_address_is_refused_when_it_is_sent(
    service: Service, application: FastAPI
) -> None:
    async with receiving() as receiver:
        webhook = (await service.post("/experiment_webhooks/", {"url": receiver.url})).json()

        tested = await service.post(f"/experiment_webhooks/{webhook['id']}/test/", {})

        assert (tested.status_code, receiver.received) == (200, [])
        assert (tested.json()["status"], tested.json()["response_status"]) == ("failed", None)
        assert "not public" in tested.json()["error"]


@pytest.mark.each_database
async def test_webhook_is_tested_at_once(service: Service, application: FastAPI, database: Database) -> None:
    application.state.deliverer = Deliverer(database, Sender(LOOPBACK))
    async with hooked(service, database, 200, 404, active=False) as (receiver, _, _, webhook):
        path = f"/experiment_webhooks/{webhook['id']}/test/"
        taken, refused = (await service.post(path, {})).json(), (await service.post(path, {})).json()

        assert events(receiver) == ["webhook.test", "webhook.test"]
        assert (taken["status"], taken["response_status"], taken["error"]) == ("delivered", 200, "")
        assert (refused["status"], refused["error"]) == ("failed", "The receiver answered 404.")
        assert [one["id"] for one in await deliveries(service, webhook)] == [refused["id"], taken["id"]]


@pytest.mark.each_database
async def test_secret_is_shown_once_and_changes_are_logged_without_it(service: Service) -> None:
    created = (await service.post("/experiment_webhooks/", {"url": "https://hooks.example.com/T0KEN"})).json()
    path = f"/experiment_webhooks/{created['id']}/"
    changed = await service.patch(path, {"secret": SECRET, "events": ["experiment.ended", "experiment.ended"]})
    activity = await service.get("/experiment_webhooks/activity/")

    assert created["secret"].startswith("whs_")
    assert len(created["secret"]) > 40
    assert created["events"] == list(EVENTS)
    assert changed.json()["events"] == ["experiment.ended"]
    shown = [changed, activity, await service.get(path), await service.get("/experiment_webhooks/")]
    for response in shown:
        assert created["secret"] not in response.text
        assert SECRET not in response.text
    assert "T0KEN" not in activity.text
    newest, oldest = activity.json()["results"]
    assert [change["field"] for change in newest["detail"]["changes"]] == ["events", "secret"]
    assert (oldest["activity"], oldest["scope"], oldest["detail"]["name"]) == (
        "created",
        "Webhook",
        "hooks.example.com",
    )


REFUSED: list[tuple[Json, str]] = [
    ({"url": "ftp://hooks.example.com/"}, "invalid_url"),
    ({"url": "https:///hook"}, "invalid_url"),
    ({"url": "https://hooks.example.com:0/"}, "invalid_url"),
    ({"url": "https://hooks.example.com:99999/"}, "invalid_url"),
    ({"url": "https://ann:secret@hooks.example.com/"}, "invalid_url"),
    ({"url": "https://hooks.example.com/#hook"}, "invalid_url"),
    ({"url": "https://hooks.exa\tmple.com/"}, "invalid_url"),
    ({"url": f"https://hooks.example.com/{'x' * limits.WEBHOOK_URL_CHARACTERS.value}"}, "max_length"),
    ({"url": "http://169.254.169.254/latest"}, "invalid_input"),
    ({"url": "http://[::ffff:127.0.0.1]/"}, "invalid_input"),
    ({"url": "https://hooks.example.com/", "secret": "short"}, "invalid_input"),
    ({"url": "https://hooks.example.com/", "secret": "a-secret-with-\N{SNOWMAN}-in-it"}, "invalid_input"),
    ({"url": "https://hooks.example.com/", "events": []}, "too_short"),
    ({"url": "https://hooks.example.com/", "events": ["experiment.exploded"]}, "literal_error"),
]


async def test_webhooks_that_are_not_understood_are_refused(service: Service) -> None:
    for body, code in REFUSED:
        response = await service.post("/experiment_webhooks/", body)

        assert (response.status_code, response.json()["code"]) == (400, code), response.text
        assert response.json()["attr"] in {"url", "secret", "events", "events__0"}


async def test_project_has_a_number_of_webhooks(service: Service) -> None:
    for _ in range(limits.WEBHOOKS.value):
        assert (await service.post("/experiment_webhooks/", {"url": "https://a.example/"})).status_code == 201

    refused = await service.post("/experiment_webhooks/", {"url": "https://a.example/"})

    assert (refused.status_code, refused.json()["detail"]) == (400, limits.WEBHOOKS.detail)


@pytest.mark.each_database
@pytest.mark.own_database
async def test_old_deliveries_are_removed_and_too_many_given_up(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hooked(service, database, events=["experiment.created"]) as (_, deliverer, clock, webhook):
        for number in range(3):
            await service.create_experiment(feature_flag_key=f"flag-{number}")
        async with database.write() as session:
            await DeliveryQueue(session).give_up_excess(2, limits.WEBHOOK_WAITING.detail)
        found = await deliveries(service, webhook)
        assert [one["status"] for one in found] == ["pending", "pending", "failed"]
        assert found[2]["error"] == limits.WEBHOOK_WAITING.detail

        clock.pass_seconds(limits.WEBHOOK_DAYS.value * 86_400 + 1)
        await deliverer.clean()

        async with database.read() as session:
            assert await session.scalar(select(func.count()).select_from(WebhookDelivery)) == 0
