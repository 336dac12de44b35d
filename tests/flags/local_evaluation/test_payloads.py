"""Payloads of single flags, as server-side SDKs fetch them."""

from typing import Any

import pytest
from sqlalchemy import update

from app.db.database import Database
from app.db.models import FeatureFlag
from app.flags.evaluation.rules import EvaluationContext, evaluate, prepare
from tests.flags.evaluation.asking import EVERYBODY, HALVES, create_flag
from tests.support.service import Service

pytestmark = pytest.mark.one_database

PAYLOADS = {**EVERYBODY, "payloads": {"true": '{"color": "green"}'}}


async def test_payload_is_found_under_the_project_and_under_its_token(service: Service) -> None:
    await create_flag(service, filters=PAYLOADS)
    headers = {"Authorization": f"Bearer {service.key}"}

    for address in (
        f"{service.project}/feature_flags/beta-feature/remote_config/",
        f"/api/projects/@current/feature_flags/beta-feature/remote_config?token={service.token}",
        "/api/projects/@current/feature_flags/beta-feature/remote_config",
    ):
        response = await service.client.get(address, headers=headers)
        assert (response.status_code, response.json()) == (200, '{"color": "green"}'), address


@pytest.mark.parametrize("fields", [{"active": False}, {"filters": EVERYBODY}])
async def test_flag_that_is_off_or_has_none_has_no_payload(service: Service, fields: dict[str, Any]) -> None:
    await create_flag(service, **{"filters": PAYLOADS, **fields})

    assert await service.read("/feature_flags/beta-feature/remote_config/") is None


async def test_flags_that_do_not_exist_have_no_payload_to_ask_for(service: Service) -> None:
    await create_flag(service, filters=PAYLOADS, deleted=True)

    for key in ("beta-feature", "other", "%00"):
        assert (await service.get(f"/feature_flags/{key}/remote_config/")).status_code == 404, key


KEY_OF_VARIANT = "Payload keys must match a variant key for multivariate flags, got"


@pytest.mark.parametrize(
    ("filters", "detail"),
    [
        ({"payloads": {"true": "not json"}}, "Payload value is not valid JSON: 'true'"),
        ({"payloads": {"true": ""}}, "Payload value is not valid JSON: 'true'"),
        ({"payloads": {"true": "NaN"}}, "Payload value is not valid JSON: 'true'"),
        ({"payloads": {"true": "[" * 2_000}}, "Payload value is not valid JSON: 'true'"),
        ({"payloads": {"test": "1"}}, "Payload keys must be 'true' for boolean flags, got 'test'"),
        ({"payloads": {"gone": "1"}, "multivariate": HALVES}, f"{KEY_OF_VARIANT} 'gone'"),
        ({"payloads": {"true": "1"}, "multivariate": HALVES}, f"{KEY_OF_VARIANT} 'true'"),
        ({"payloads": {"test": "{'a': 1}"}, "multivariate": HALVES}, "Payload value is not valid JSON: 'test'"),
    ],
)
async def test_payload_that_sdks_could_not_read_is_refused(
    service: Service, filters: dict[str, Any], detail: str
) -> None:
    flag = await create_flag(service, filters=PAYLOADS)
    wrong = {**EVERYBODY, **filters}

    for response in (
        await service.post("/feature_flags/", {"key": "other", "filters": wrong}),
        await service.patch(f"/feature_flags/{flag['id']}/", {"filters": wrong}),
    ):
        assert response.status_code == 400
        assert response.json() == {
            "type": "validation_error",
            "code": "invalid_input",
            "detail": f"Filters are not valid ({detail})",
            "attr": "filters",
        }


async def test_payload_of_an_older_flag_is_given_out_as_json_everywhere(service: Service, database: Database) -> None:
    flag = await create_flag(service, filters=PAYLOADS)
    for stored, text in (("not json", '"not json"'), ("", '""'), ({"a": "é"}, '{"a": "é"}'), ("[1]", "[1]")):
        async with database.write() as session:
            filters = {**EVERYBODY, "payloads": {"true": stored}}
            await session.execute(update(FeatureFlag).where(FeatureFlag.id == flag["id"]).values(filters=filters))

        definitions = await service.read("/feature_flags/local_evaluation/")
        assert definitions["flags"][0]["filters"]["payloads"] == {"true": text}
        assert await service.read("/feature_flags/beta-feature/remote_config/") == text
        found = evaluate(prepare(flag_id=1, key="any", filters=filters), EvaluationContext("ann"))
        assert found.payload == text


async def test_strangers_are_refused(service: Service) -> None:
    address = f"/api/projects/@current/feature_flags/beta-feature/remote_config?token={service.token}"

    assert (await service.client.get(address)).status_code == 401
    wrong = address.replace(service.token, "phc_other")
    response = await service.client.get(wrong, headers={"Authorization": f"Bearer {service.key}"})
    assert response.status_code == 401
