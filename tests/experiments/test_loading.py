"""Experiments that are only read, which are loaded without a session."""

import pytest
from sqlalchemy import inspect
from sqlalchemy.exc import InvalidRequestError

from app.db.database import Database
from app.db.models import Base
from app.experiments.repository import ExperimentQueries, ExperimentRepository
from tests.support.service import Service

FUNNEL = {"insight": "FUNNELS", "events": [{"id": "paid", "type": "events", "order": 0}]}


async def test_detached_experiment_is_what_a_session_loads(service: Service, database: Database) -> None:
    metric = {"metric_type": "mean", "source": {"kind": "EventsNode", "event": "paid"}}
    saved = await service.post("/experiment_saved_metrics/", {"name": "Payments", "query": metric})
    experiment = await service.create_experiment(
        name="\N{SNOWMAN}",
        filters=FUNNEL,
        start_date="2022-11-01T08:00:00.123456+02:00",
        stats_config={"confidence_level": 0.9},
        metrics=[metric],
        saved_metrics_ids=[{"id": saved.json()["id"]}],
        only_count_matured_users=True,
    )
    alone = ExperimentQueries(database, service.project_id)

    detached = await alone.get_detached(experiment["id"])
    async with database.read() as session:
        loaded = await ExperimentRepository(session, service.project_id).get(experiment["id"])

    assert detached is not None
    assert loaded is not None
    assert columns_of(detached) == columns_of(loaded)
    assert columns_of(detached.feature_flag) == columns_of(loaded.feature_flag)
    assert list(map(columns_of, detached.saved_metrics)) == list(map(columns_of, loaded.saved_metrics))
    assert [one.name for one in detached.saved_metrics] == ["Payments"]
    with pytest.raises(InvalidRequestError, match="created_by"):
        assert detached.created_by
    assert await ExperimentQueries(database, service.project_id + 1).get_detached(experiment["id"]) is None


def columns_of(row: Base) -> dict[str, str]:
    """Return the representations of all values, which tell 1 from True."""
    return {column.key: repr(getattr(row, column.key)) for column in inspect(type(row)).column_attrs}
