"""Cached flags follow changes within a second."""

import pytest

from app.db.database import Database
from app.flags.evaluation.active_flags import FRESH_SECONDS, ActiveFlags
from app.flags.evaluation.dependencies import evaluated_groups
from tests.conftest import settings_for
from tests.flags.evaluation.asking import EVERYBODY, create_flag, values
from tests.support.service import Service

pytestmark = pytest.mark.one_database


async def test_every_change_is_seen_by_the_next_request(service: Service) -> None:
    flag = await create_flag(service)
    path = f"/feature_flags/{flag['id']}/"

    assert await values(service) == {"beta-feature": True}
    await service.patch(path, {"filters": {"groups": [{"rollout_percentage": 0}]}})
    assert await values(service) == {"beta-feature": False}
    await service.patch(path, {"key": "renamed", "filters": EVERYBODY})
    assert await values(service) == {"renamed": True}
    await service.patch(path, {"active": False})
    assert await values(service) == {}
    await service.patch(path, {"active": True})
    assert await values(service) == {"renamed": True}
    await service.patch(path, {"deleted": True})
    assert await values(service) == {}


async def test_experiments_flag_is_off_until_the_launch(service: Service) -> None:
    experiment = await service.create_experiment(start_date=None, end_date=None)

    assert await values(service) == {}
    await service.patch(f"/experiments/{experiment['id']}/", {"start_date": "2022-11-01T00:00:00Z"})
    assert (await values(service))["checkout"] in {"control", "test"}


async def test_refused_change_is_no_change(service: Service) -> None:
    flag = await create_flag(service)
    await create_flag(service, "taken")

    response = await service.patch(f"/feature_flags/{flag['id']}/", {"active": False, "key": "taken"})

    assert response.status_code == 400
    assert await values(service) == {"beta-feature": True, "taken": True}


@pytest.mark.each_database
async def test_change_of_another_process_is_seen_in_a_moment_and_what_did_not_change_is_not_prepared_again(
    service: Service, database_url: str
) -> None:
    now = 0.0
    other = Database(settings_for(database_url))
    elsewhere = ActiveFlags(other, evaluated_groups, clock=lambda: now)
    await create_flag(service, "first")
    before = await elsewhere.find(service.token)
    await create_flag(service, "second")

    remembered = await elsewhere.find(service.token)
    now += FRESH_SECONDS
    after = await elsewhere.find(service.token)

    await other.close()
    assert before is remembered
    assert before is not None
    assert after is not None
    assert [flag.key for flag in after.active.flags] == ["first", "second"]
    assert after.active.flags[0] is before.active.flags[0]
