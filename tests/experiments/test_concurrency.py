import asyncio
from collections import Counter

from sqlalchemy import text

from app.db.database import Database
from app.db.models import User
from app.experiments.dependencies import build_experiments
from app.experiments.schemas import ExperimentUpdate
from tests.experiments.test_creating import COUNTRY, REQUIRED
from tests.support.service import FUNNEL, TREND, Service
from tests.support.stored_experiments import flags, only_flag


async def test_one_of_simultaneous_creations_succeeds(service: Service, database: Database) -> None:
    responses = await asyncio.gather(*(service.post("/experiments/", REQUIRED) for _ in range(4)))

    assert Counter(response.status_code for response in responses) == {201: 1, 400: 3}
    refusals = [response.json() for response in responses if response.status_code == 400]
    assert (
        refusals
        == [
            {
                "type": "validation_error",
                "code": "unique",
                "detail": "There is already a feature flag with this key.",
                "attr": "feature_flag_key",
            }
        ]
        * 3
    )
    assert len(await flags(database, service)) == 1
    assert (await service.read("/experiments/"))["count"] == 1


async def test_changes_of_different_fields_at_the_same_time_all_last(service: Service) -> None:
    experiment = await service.create_experiment(start_date=None, end_date=None)
    changes: list[dict[str, object]] = [
        {"name": "New name"},
        {"description": "New description"},
        {"start_date": "2022-11-01T00:00:00Z"},
        {"parameters": {"recommended_sample_size": 1500}},
        {"archived": True},
    ]

    await asyncio.gather(*(service.patch(f"/experiments/{experiment['id']}/", change) for change in changes))

    after = await service.read(f"/experiments/{experiment['id']}/")
    expected = {name: value for change in changes for name, value in change.items()}
    changed = {name: after[name] for name in ("updated_at", "allowed_actions")}
    assert after == {**experiment, **expected, **changed, "status": "running"}


async def test_change_that_had_to_wait_sees_the_flag_as_the_other_left_it(service: Service, database: Database) -> None:
    """The second change keeps the participants, so it must know those of the first."""
    experiment = await service.create_experiment()
    first = ExperimentUpdate.model_validate({"filters": {**FUNNEL, "properties": [COUNTRY]}})

    async with database.write() as session:
        experiments = build_experiments(session, service.project_id)
        held = await experiments.get(str(experiment["id"]), for_update=True)
        second = asyncio.create_task(service.patch(f"/experiments/{experiment['id']}/", {"filters": TREND}))
        await somebody_waits(database)
        await experiments.update(held, first, User(id=held.created_by_id))

    assert (await second).json()["filters"] == TREND
    assert (await only_flag(database, service))["filters"]["groups"] == [{"properties": [COUNTRY]}]


async def somebody_waits(database: Database) -> None:
    """Return when a transaction waits for a row; on SQLite transactions wait before they read anything."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    while not database.is_sqlite:
        async with database.read() as session:
            if await session.scalar(waiting):
                return


async def test_concurrent_change_and_deletion_leave_the_flag_deleted(service: Service, database: Database) -> None:
    experiment = await service.create_experiment(start_date=None)
    path = f"/experiments/{experiment['id']}/"

    changed, deleted = await asyncio.gather(
        service.patch(path, {"start_date": "2022-11-01T00:00:00Z"}), service.delete(path)
    )

    assert changed.status_code in (200, 404)
    assert deleted.status_code == 204
    assert (await only_flag(database, service))["deleted"] is True


async def test_one_of_simultaneous_deletions_succeeds(service: Service) -> None:
    experiment = await service.create_experiment()

    responses = await asyncio.gather(*(service.delete(f"/experiments/{experiment['id']}/") for _ in range(3)))

    assert sorted(response.status_code for response in responses) == [204, 404, 404]
