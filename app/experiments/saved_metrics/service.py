"""The rules of saved metrics."""

from collections.abc import Sequence

from app.common.errors import NotFound, ValidationFailed
from app.common.ids import read_id
from app.db.models import SavedMetric, User, utc_now
from app.experiments.saved_metrics.repository import SavedMetricRepository
from app.experiments.saved_metrics.schemas import SavedMetricCreate, SavedMetricUpdate

_SHOWN_EXPERIMENTS = 5


class SavedMetricService:
    """Saved metrics of one project."""

    def __init__(self, metrics: SavedMetricRepository) -> None:
        self._metrics = metrics

    async def get(self, reference: str, *, for_update: bool = False) -> SavedMetric:
        """Return the metric that a path names; ``NotFound`` otherwise."""
        metric_id = read_id(reference)
        metric = await self._metrics.get(metric_id, for_update=for_update) if metric_id else None
        if metric is None:
            raise NotFound
        return metric

    async def page(self, limit: int, offset: int) -> tuple[int, Sequence[SavedMetric]]:
        return await self._metrics.count(), await self._metrics.page(limit, offset)

    async def create(self, body: SavedMetricCreate, created_by: User) -> SavedMetric:
        metric = SavedMetric(
            name=body.name,
            description=body.description,
            query=body.query.to_stored(),
            tags=body.tags,
            created_by_id=created_by.id,
        )
        await self._metrics.add(metric)
        return await self.get(str(metric.id))

    async def update(self, metric: SavedMetric, body: SavedMetricUpdate) -> SavedMetric:
        """Change a metric: all experiments that name it count the changed one from now on.

        It keeps its uuid, by which circuit breakers and requests name it, unless another one is sent.
        """
        for field in body.model_fields_set & {"name", "description", "tags"}:
            setattr(metric, field, getattr(body, field))
        if body.query is not None:
            own = {} if "uuid" in body.query.model_fields_set else {"uuid": metric.query["uuid"]}
            metric.query = body.query.to_stored() | own
        metric.updated_at = utc_now()
        await self._metrics.flush()
        return metric

    async def delete(self, metric: SavedMetric) -> None:
        """Delete a metric that no experiment names.

        Raises
        ------
        ValidationFailed
            It names the experiments that do.
        """
        users = await self._metrics.users_of(metric.id)
        if users:
            shown = ", ".join(repr(name) for name in users[:_SHOWN_EXPERIMENTS])
            more = f" and {len(users) - _SHOWN_EXPERIMENTS} more" if len(users) > _SHOWN_EXPERIMENTS else ""
            raise ValidationFailed(
                f"The metric is counted by the experiments {shown}{more}: remove it there first.", code="in_use"
            )
        await self._metrics.delete(metric)
