"""Secrets do not appear in debug logs, responses or settings."""

import logging
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from app.accounts.auth.api_keys import digest
from app.db.database import Database
from app.main import create_app
from app.settings import Settings
from tests.support.service import FUNNEL, Service, event

PASSWORD = "canary-password-4711"  # noqa: S105  # of a database that is away


class Written:
    """Everything that is logged while a test runs, with the tracebacks, down to DEBUG; and every statement."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def handler(self) -> logging.Handler:
        lines, formatter = self.lines, logging.Formatter("%(name)s %(message)s")

        class Handler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                if not record.name.startswith("httpx"):  # the client of the tests
                    lines.append(formatter.format(record))

        return Handler(logging.DEBUG)


@pytest.fixture
def written() -> Iterator[Written]:
    written, root = Written(), logging.getLogger()
    handler, level = written.handler(), root.level
    statements = logging.getLogger("sqlalchemy.engine")
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    statements.setLevel(logging.INFO)  # at DEBUG it shows rows too: that is what it is for
    yield written
    root.removeHandler(handler)
    root.setLevel(level)
    statements.setLevel(logging.NOTSET)


async def send_everywhere(client: httpx.AsyncClient, project: str, key: str) -> list[httpx.Response]:
    """Send a key in header, query, body and form, with requests that succeed and that fail."""
    json = {"personal_api_key": key, "name": "x", "feature_flag_key": "x"}
    bearer = {"Authorization": f"Bearer {key}"}
    return [
        await client.get(f"{project}/experiments/", headers=bearer),
        await client.get(f"{project}/experiments/", params={"personal_api_key": key, "limit": 1, "offset": 1}),
        await client.post(f"{project}/experiments/", json=json),
        await client.post(f"{project}/experiments/", json=json | {"filters": FUNNEL}),
        await client.post(f"{project}/experiments/", data={"personal_api_key": key}),
        await client.post(f"{project}/experiments/", content=b'{"personal_api_key": "%s"' % key.encode()),
        await client.patch(f"{project}/feature_flags/999/", json=json),
        await client.delete(f"{project}/cohorts/999/", headers=bearer),
        await client.get("/nothing/", params={"personal_api_key": key}, headers=bearer),
        await client.get("/api/users/@me/", headers={"Authorization": f"Basic {key}"}),
        await client.post("/e/", json={"api_key": key, **event("visit", "ann")}),
        await client.post("/flags/", json={"token": key, "distinct_id": "ann"}),
        await client.get("/flags/definitions", params={"token": key}, headers=bearer),
        await client.get(f"/array/{key}/config"),
    ]


def unmasked(key: str) -> str:
    """Return the part that nobody may see; the four letters at each end are there to tell keys apart."""
    return key[8:-8]


@pytest.mark.parametrize("kind", ["good", "bad"])
async def test_logs_and_responses_do_not_contain_keys(service: Service, written: Written, kind: str) -> None:
    key = service.key if kind == "good" else f"phx_{digest(service.key)}"

    answers = await send_everywhere(service.client, service.project, key)

    assert written.lines
    assert {answer.status_code for answer in answers} >= ({200, 201, 400, 404} if kind == "good" else {401, 404})
    assert not [line for line in written.lines if unmasked(key) in line or digest(key) in line]
    assert not [answer.text for answer in answers if unmasked(key) in answer.text]
    assert not [answer.headers for answer in answers if unmasked(key) in str(answer.headers.raw)]


async def test_unhandled_exceptions_do_not_log_keys(
    service: Service, database: Database, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(database, "fetch", fail)

    answers = await send_everywhere(service.client, service.project, service.key)

    assert 500 in {answer.status_code for answer in answers}
    assert "a bug" in "".join(written.lines)
    assert not [line for line in written.lines if unmasked(service.key) in line]
    assert not [answer.text for answer in answers if unmasked(service.key) in answer.text or "a bug" in answer.text]


async def test_logs_do_not_contain_personal_data(service: Service, written: Written) -> None:
    secret = "canary-person-0815"  # noqa: S105  # of a person

    await service.capture(event(secret, secret, properties={"$set": {"email": secret}, "card": secret}))
    await service.post("/experiments/", {"name": secret, "feature_flag_key": secret, "filters": FUNNEL})
    await service.get("/experiments/", search=secret)
    await service.get("/events/", distinct_id=secret)
    await service.client.post("/flags/", json={"token": service.token, "distinct_id": secret})

    assert not [line for line in written.lines if secret in line]


@pytest.fixture
async def cut_off() -> AsyncIterator[httpx.AsyncClient]:
    """A service whose database is away, with a password in its URL."""
    url = f"postgresql://abacus:{PASSWORD}@127.0.0.1:1/abacus"
    application = create_app(Settings(database_url=url, refresh_interval=0))
    transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)
    async with (
        application.router.lifespan_context(application),
        httpx.AsyncClient(transport=transport, base_url="http://abacus.test") as client,
    ):
        yield client


async def test_logs_and_responses_do_not_contain_the_database_password(
    cut_off: httpx.AsyncClient, written: Written
) -> None:
    key = f"phx_{digest('some key')}"

    answers = [*await send_everywhere(cut_off, "/api/projects/1", key), await cut_off.get("/_readyz")]

    assert 503 in {answer.status_code for answer in answers}
    assert not [line for line in written.lines if PASSWORD in line or unmasked(key) in line]
    assert not [answer.text for answer in answers if PASSWORD in answer.text]


def test_settings_do_not_show_secrets() -> None:
    settings = Settings(database_url=f"postgresql://abacus:{PASSWORD}@127.0.0.1/abacus")

    assert PASSWORD not in f"{settings!r}{settings}"
