"""The responses of /decide and /flags in every version."""

from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.flags.evaluation.asking import COUNTRY, EVERYBODY, HALVES, ask, create_flag, values
from tests.support.service import Service

pytestmark = pytest.mark.one_database

CONFIG_OF_2022 = {
    "config": {"enable_collect_everything": True},
    "toolbarParams": {},
    "isAuthenticated": False,
    "supportedCompression": ["gzip", "gzip-js", "lz64"],
    "sessionRecording": False,
    "siteApps": [],
}
REMOTE_CONFIG = {
    "supportedCompression": ["gzip", "gzip-js"],
    "hasFeatureFlags": True,
    "captureDeadClicks": False,
    "capturePerformance": False,
    "autocapture_opt_out": False,
    "autocaptureExceptions": False,
    "analytics": {"endpoint": "/i/v0/e/"},
    "elementsChainAsString": True,
    "sessionRecording": False,
    "surveys": False,
    "heatmaps": False,
    "defaultIdentifiedOnly": True,
    "siteApps": [],
}
CONFIG = {
    "config": {"enable_collect_everything": True},
    "toolbarParams": {},
    "isAuthenticated": False,
    "flagsPersistenceDefault": False,
    **REMOTE_CONFIG,
}
PAYLOADS = {"test": '{"color": "green"}'}


async def set_up(service: Service) -> dict[str, int]:
    """Create three flags, which for ``example_id`` are a variant, on, and off; and two that are not evaluated."""
    variant = await create_flag(service, filters={**EVERYBODY, "multivariate": HALVES, "payloads": PAYLOADS})
    on = await create_flag(service, "on")
    off = await create_flag(service, "off", filters={"groups": [{"properties": [COUNTRY]}], "payloads": {"true": "1"}})
    await create_flag(service, "inactive", active=False)
    await create_flag(service, "deleted", deleted=True)
    return {flag["key"]: flag["id"] for flag in (variant, on, off)}


def record(key: str, flag_id: int, reason: dict[str, Any], **members: object) -> object:
    return {
        "key": key,
        "enabled": reason["code"] == "condition_match",
        "variant": members.get("variant"),
        "reason": reason,
        "metadata": {
            "id": flag_id,
            "version": 1,
            "description": None,
            "payload": members.get("payload"),
            "has_experiment": False,
        },
    }


def records(ids: dict[str, int]) -> dict[str, object]:
    matched = {"code": "condition_match", "condition_index": 0, "description": "Matched condition set 1"}
    missed = {"code": "no_condition_match", "condition_index": 0, "description": "No matching condition set"}
    return {
        "beta-feature": record("beta-feature", ids["beta-feature"], matched, variant="test", payload=PAYLOADS["test"]),
        "on": record("on", ids["on"], matched),
        "off": record("off", ids["off"], missed),
    }


VALUES = {
    "featureFlags": {"beta-feature": "test", "on": True, "off": False},
    "featureFlagPayloads": {"beta-feature": PAYLOADS["test"]},
    "errorsWhileComputingFlags": False,
}
SEEN = {"beta-feature": "test", "on": True}


def without_occasion(body: dict[str, Any]) -> dict[str, Any]:
    """Check what differs from answer to answer, and return the rest."""
    assert UUID(body["requestId"]).version == 4
    assert body["evaluatedAt"] > 1_600_000_000_000
    return {name: member for name, member in body.items() if name not in {"requestId", "evaluatedAt"}}


@pytest.mark.parametrize(
    ("path", "flags"),
    [
        ("/decide/", {"featureFlags": ["beta-feature", "on"]}),
        ("/decide", {"featureFlags": ["beta-feature", "on"]}),
        ("/decide/?v=1", {"featureFlags": ["beta-feature", "on"]}),
        ("/decide/?v=2", {"featureFlags": SEEN}),
        ("/decide?v=2&ip=1&_=1667300000000&ver=1.38.0", {"featureFlags": SEEN}),
        ("/decide/?v=2?v=2", {"featureFlags": SEEN}),  # of an old browser SDK
        ("/decide/?v=3", VALUES),
    ],
)
async def test_decide_answers_each_version_in_its_form(service: Service, path: str, flags: dict[str, Any]) -> None:
    await set_up(service)

    assert await ask(service, path) == {**CONFIG_OF_2022, **flags}


async def test_decide_of_version_4_answers_with_records(service: Service) -> None:
    ids = await set_up(service)

    body = without_occasion(await ask(service, "/decide/?v=4"))

    assert body == {"flags": records(ids), "errorsWhileComputingFlags": False, **CONFIG}


@pytest.mark.parametrize("path", ["/flags/?v=2", "/flags?v=2", "/flags/?v=4", "/flags/?v=2&compression=base64"])
async def test_flags_are_records_with_reasons(service: Service, path: str) -> None:
    ids = await set_up(service)

    body = without_occasion(await ask(service, path))

    assert body == {"flags": records(ids), "errorsWhileComputingFlags": False}


@pytest.mark.parametrize(("path", "config"), [("/flags/?v=1", {}), ("/flags/?v=1&config=true", CONFIG)])
async def test_flags_of_version_1_are_values(service: Service, path: str, config: dict[str, Any]) -> None:
    await set_up(service)

    assert without_occasion(await ask(service, path)) == {**VALUES, **config}


@pytest.mark.parametrize("path", ["/flags/", "/flags", "/flags/?v=2&config=true"])
async def test_flags_bring_the_configuration_when_asked_and_when_nothing_is_said(service: Service, path: str) -> None:
    ids = await set_up(service)

    body = without_occasion(await ask(service, path))

    assert body == {"flags": records(ids), "errorsWhileComputingFlags": False, **CONFIG}


async def test_request_keeps_the_id_that_its_client_gave_it(service: Service) -> None:
    request_id = "0188a7a0-0000-4000-8000-000000000001"

    response = await service.client.post(
        "/flags/?v=2", json={"token": service.token, "distinct_id": "ann"}, headers={"X-Request-Id": request_id}
    )

    assert response.json()["requestId"] == request_id


async def test_get_tells_the_configuration_and_no_flags(service: Service) -> None:
    await set_up(service)

    decide = await service.client.get("/decide/")
    flags = await service.client.get("/flags/?v=2")

    base = {name: member for name, member in CONFIG_OF_2022.items() if name != "siteApps"}
    assert (decide.status_code, decide.json()) == (200, {**base, "featureFlags": []})
    assert without_occasion(flags.json()) == {
        "flags": {},
        "errorsWhileComputingFlags": False,
        **CONFIG,
        "hasFeatureFlags": False,
    }


async def test_decide_without_a_token_tells_the_configuration_and_no_flags(service: Service) -> None:
    response = await service.client.post("/decide/?v=2", json={"distinct_id": "ann"})

    base = {name: member for name, member in CONFIG_OF_2022.items() if name != "siteApps"}
    assert (response.status_code, response.json()) == (200, {**base, "featureFlags": {}})


@pytest.mark.parametrize(
    ("path", "token", "code"),
    [
        ("/decide/?v=2", "phc_unknown", "invalid_api_key"),
        ("/flags/?v=2", "phc_unknown", "invalid_api_key"),
        ("/flags/?v=2", "nul\0", "invalid_api_key"),
        ("/flags/?v=2", None, "missing_api_key"),
        ("/flags/?v=2", "", "missing_api_key"),
    ],
)
async def test_flags_need_a_projects_token(client: httpx.AsyncClient, path: str, token: str | None, code: str) -> None:
    response = await client.post(path, json={"token": token, "distinct_id": "ann"})

    detail = {"invalid_api_key": "Project API key invalid.", "missing_api_key": "API key not provided."}[code]
    assert response.status_code == 401
    assert response.json() == {
        "type": "authentication_error",
        "code": code,
        "detail": f"{detail} `abacus project create` prints the project's token, and GET /api/projects/ returns it.",
        "attr": None,
    }


@pytest.mark.parametrize(
    ("project_id", "key", "status", "code"),
    [
        ("OWN", "OWN", 200, None),
        ("999", "OWN", 401, "invalid_personal_key"),
        ("OWN", "phx_unknown", 401, "invalid_personal_key"),
        ("one", "OWN", 400, "invalid_project"),
        ("", "OWN", 401, "invalid_api_key"),
    ],
)
@pytest.mark.parametrize("path", ["/decide/?v=3", "/flags/?v=1"])
async def test_members_key_beside_the_projects_number_does_for_a_token(
    service: Service, path: str, project_id: str, key: str, status: int, code: str | None
) -> None:
    await create_flag(service)
    named = {
        "api_key": key.replace("OWN", service.key),
        "project_id": project_id.replace("OWN", f"{service.project_id}"),
    }

    response = await service.client.post(path, json={**named, "distinct_id": "ann"})

    assert (response.status_code, response.json().get("code")) == (status, code)
    assert status != 200 or response.json()["featureFlags"] == {"beta-feature": True}


@pytest.mark.parametrize(("path", "who"), [("/decide/?v=2", "Decide requires"), ("/flags/?v=2", "Flags require")])
async def test_flags_require_a_distinct_id(service: Service, path: str, who: str) -> None:
    response = await service.client.post(path, json={"token": service.token, "distinct_id": None})

    assert response.status_code == 400
    assert response.json() == {
        "type": "validation_error",
        "code": "missing_distinct_id",
        "detail": f"{who} a distinct_id.",
        "attr": None,
    }


@pytest.mark.parametrize("path", ["/flags/?v=2&config=true", "/flags/?v=1", "/decide/?v=3"])
async def test_configuration_needs_no_person_where_no_flags_are_asked_for(service: Service, path: str) -> None:
    await set_up(service)

    body = await ask(service, path, distinct_id=None, disable_flags=True)

    assert body.get("flags", body.get("featureFlags")) == {}
    assert "supportedCompression" in body or path == "/flags/?v=1"
    response = await service.client.post(path, json={"token": "phc_other", "disable_flags": True})
    assert response.status_code == 401


async def test_requested_flags_only_are_evaluated(service: Service) -> None:
    await set_up(service)

    assert await values(service, flag_keys_to_evaluate=["on", "off", "unknown"]) == {"on": True, "off": False}
    assert await values(service, flag_keys=["beta-feature"]) == {"beta-feature": "test"}
    assert await values(service, disable_flags=True) == {}


async def test_flag_says_whether_it_is_an_experiments(service: Service) -> None:
    await service.create_experiment()

    found = (await ask(service))["flags"]["checkout"]

    assert found["metadata"]["has_experiment"] is True
    assert found["variant"] in {"control", "test"}


async def test_flags_of_other_projects_are_not_told(service: Service) -> None:
    await create_flag(service)
    other = await service.client.post(
        "/api/projects/", json={"name": "Other"}, headers={"Authorization": f"Bearer {service.key}"}
    )

    response = await service.client.post(
        "/flags/?v=1", json={"token": other.json()["api_token"], "distinct_id": "example_id"}
    )

    assert response.json()["featureFlags"] == {}
