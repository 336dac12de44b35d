import pytest

from app.db.database import Database
from tests.support.service import Service
from tests.support.stored_experiments import flags

pytestmark = pytest.mark.one_database


async def test_deleted_experiment_is_gone(service: Service) -> None:
    experiment = await service.create_experiment()
    other = await service.create_experiment(feature_flag_key="other")
    path = f"/experiments/{experiment['id']}/"

    response = await service.delete(path)

    assert (response.status_code, response.content) == (204, b"")
    assert [(await service.request(method, path)).status_code for method in ("GET", "DELETE")] == [404, 404]
    assert (await service.patch(path, {"name": "x"})).status_code == 404
    assert (await service.read("/experiments/"))["results"] == [other]


async def test_id_of_a_deleted_experiment_is_not_used_again(service: Service) -> None:
    first = await service.create_experiment()
    await service.delete(f"/experiments/{first['id']}/")

    second = await service.create_experiment()

    assert second["id"] > first["id"]
    activities = (await service.read(f"/experiments/{second['id']}/activity/"))["results"]
    assert [entry["activity"] for entry in activities] == ["created"]


async def test_flag_of_a_deleted_experiment_is_marked_and_otherwise_kept(service: Service, database: Database) -> None:
    experiment = await service.create_experiment()
    (before,) = await flags(database, service)

    await service.delete(f"/experiments/{experiment['id']}/")

    assert await flags(database, service) == [{**before, "deleted": True}]


async def test_key_of_a_deleted_experiment_is_free_and_its_old_flag_stays(service: Service, database: Database) -> None:
    first = await service.create_experiment()
    await service.delete(f"/experiments/{first['id']}/")

    second = await service.create_experiment()

    assert second["feature_flag"] != first["feature_flag"]
    assert [(flag["id"], flag["deleted"]) for flag in await flags(database, service)] == [
        (first["feature_flag"], True),
        (second["feature_flag"], False),
    ]
