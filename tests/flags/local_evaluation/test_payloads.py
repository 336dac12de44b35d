"""Payloads of single flags, as server-side SDKs fetch them."""

from typing import Any

import pytest

from tests.flags.evaluation.asking import EVERYBODY, create_flag
from tests.support.service import Service

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


async def test_strangers_are_refused(service: Service) -> None:
    address = f"/api/projects/@current/feature_flags/beta-feature/remote_config?token={service.token}"

    assert (await service.client.get(address)).status_code == 401
    wrong = address.replace(service.token, "phc_other")
    response = await service.client.get(wrong, headers={"Authorization": f"Bearer {service.key}"})
    assert response.status_code == 401
