"""What was done under an `Idempotency-Key` is not done again, and answered as before."""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from app.accounts.idempotency.service import KEPT
from app.common import limits
from app.db.database import Database
from app.db.models import IdempotentAnswer, utc_now
from tests.support.service import FUNNEL, Service

pytestmark = pytest.mark.one_database

BODY: dict[str, Any] = {"name": "Checkout", "feature_flag_key": "checkout", "filters": FUNNEL, "unheard": 1}
EVENT = b'{"event": "a", "distinct_id": "x", "timestamp": "2022-11-01T00:00:00Z"}\n'


async def send(service: Service, key: str, body: object = BODY, path: str = "/experiments/") -> httpx.Response:
    return await service.request("POST", path, json=body, headers={"Idempotency-Key": key})


async def test_same_request_is_answered_again_and_another_is_refused(service: Service) -> None:
    first, again = await send(service, "one"), await send(service, "one")
    other = await send(service, "one", BODY | {"name": "Other"})
    elsewhere = await send(service, "one", {"key": "x"}, "/feature_flags/")
    new = await send(service, "two")

    assert (first.status_code, again.status_code) == (201, 201)
    assert (again.content, again.headers["ETag"]) == (first.content, first.headers["ETag"])
    assert ("Idempotent-Replayed" in first.headers, again.headers["Idempotent-Replayed"]) == (False, "true")
    for refused in (other, elsewhere):
        assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_key_reused")
    assert (new.status_code, new.json()["detail"]) == (400, "There is already a feature flag with this key.")
    assert (await service.read("/experiments/"))["count"] == 1


async def test_answer_again_warns_of_what_was_ignored(service: Service) -> None:
    first, again = [await send(service, "one", path="/experiments/?unheard_too=1") for _ in range(2)]

    assert again.headers.get_list("Warning") == first.headers.get_list("Warning")
    assert first.headers["Warning"].count("unheard") == 2
    assert "Warning" not in (await send(service, "two", {"name": "x", "feature_flag_key": "x"})).headers


async def test_what_was_refused_may_be_sent_again(service: Service) -> None:
    assert (await send(service, "one", {"name": "x"})).status_code == 400
    assert (await send(service, "one", BODY)).status_code == 201


@pytest.mark.each_database
async def test_requests_at_one_time_do_one_thing(service: Service) -> None:
    answers = await asyncio.gather(*[send(service, "one") for _ in range(6)])

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert (await service.read("/experiments/"))["count"] == 1


@pytest.mark.each_database
async def test_key_is_of_a_project_and_kept_for_a_day(service: Service, database: Database) -> None:
    first = (await send(service, "one")).json()
    assert (await service.delete(f"/experiments/{first['id']}/")).status_code == 204
    assert (await send(service, "one")).json()["id"] == first["id"]

    async with database.write() as session:
        old = utc_now() - KEPT - dt.timedelta(seconds=1)
        await session.execute(
            update(IdempotentAnswer).where(IdempotentAnswer.project_id == service.project_id).values(created_at=old)
        )
    assert (await send(service, "one")).json()["id"] != first["id"]


CREATES: dict[str, dict[str, Any]] = {
    "/feature_flags/": {"key": "x"},
    "/cohorts/": {"name": "x", "is_static": True},
    "/actions/": {"name": "x", "steps": [{"event": "a"}]},
    "/experiment_holdouts/": {"name": "x", "filters": [{"rollout_percentage": 5}]},
    "/experiment_saved_metrics/": {
        "name": "x",
        "query": {"metric_type": "mean", "source": {"kind": "EventsNode", "event": "a"}},
    },
}


async def test_everything_that_is_created_takes_a_key(service: Service) -> None:
    experiment = (await send(service, "experiment")).json()
    for path, body in (*CREATES.items(), (f"/experiments/{experiment['id']}/duplicate/", {})):
        answers = [await send(service, path, body, path) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [201, 201], answers[0].text
        assert answers[0].content == answers[1].content, path
        assert answers[1].headers["Idempotent-Replayed"] == "true", path


async def test_file_is_imported_once(service: Service) -> None:
    async def upload(file: bytes) -> httpx.Response:
        headers = {"Idempotency-Key": "file", "Content-Type": "application/octet-stream"}
        return await service.request("POST", "/imports/?name=a.ndjson", content=file, headers=headers)

    first, again, other = await upload(EVENT), await upload(EVENT), await upload(EVENT * 2)

    assert (first.status_code, again.status_code, other.status_code) == (201, 201, 409), first.text
    assert again.json()["id"] == first.json()["id"]
    assert (await service.read("/imports/"))["count"] == 1


async def test_file_of_unknown_size_has_no_key(service: Service) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield EVENT

    for key, status in (("file", 400), (None, 201)):
        headers = {"Content-Type": "application/octet-stream"} | ({"Idempotency-Key": key} if key else {})
        answer = await service.request("POST", "/imports/?name=a.ndjson", content=pieces(), headers=headers)
        assert answer.status_code == status, answer.text
        assert key is None or (answer.json()["attr"], "Content-Length" in answer.text) == ("Idempotency-Key", True)


async def test_keys_are_bounded(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("", " ", "a b\x7f", "x" * 256):
        answer = await send(service, key)
        assert (answer.status_code, answer.json()["attr"]) == (400, "Idempotency-Key"), key
    assert (await send(service, "one")).status_code == 201
    for name in ("IDEMPOTENCY_KEYS", "IDEMPOTENT_BYTES"):
        with monkeypatch.context() as patch:
            patch.setattr(limits, name, dataclasses.replace(getattr(limits, name), value=1))
            full = await send(service, "two", BODY | {"feature_flag_key": "two"})
            assert full.status_code == 429
            assert 86_000 < int(full.headers["Retry-After"]) <= 86_400
            assert (await send(service, "one")).status_code == 201
