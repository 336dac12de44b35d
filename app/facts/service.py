"""Counting metrics, from stored counts where that is faster and never less exact."""

from collections.abc import Sequence
from typing import Any

from app.database import Database
from app.errors import ValidationFailed
from app.facts.conditions import CohortMembers, ProjectCohorts
from app.facts.counting import MAX_NEW, Counted, MetricCounter
from app.facts.materialise import MaterialisedSeries, Materialiser
from app.facts.metric import CountsT, Metric
from app.facts.repository import CountRepository
from app.facts.watches import Watch, series_of
from app.moments import from_microseconds


def events_removed(since: int) -> ValidationFailed:
    """Return the refusal of questions about a time whose events are gone: the numbers would be too small."""
    return ValidationFailed(
        f"Events before {from_microseconds(since).isoformat()} were removed, and this metric needs some of them.",
        code="events_removed",
    )


class FactService:
    """Facts of one project."""

    def __init__(
        self, database: Database, materialiser: Materialiser, project_id: int, cohorts: CohortMembers | None = None
    ) -> None:
        self._database = database
        self._materialiser = materialiser
        self._project_id = project_id
        self._cohorts = cohorts or ProjectCohorts()

    async def catch_up(self, metrics: Sequence[Metric[Any]]) -> MaterialisedSeries:
        """Bring the series of metrics up to the last committed event."""
        watches: list[Watch] = [watch for metric in metrics for watch in metric.watches]
        return await self._materialiser.catch_up(self._project_id, series_of(watches))

    async def count(self, metric: Metric[CountsT], series: MaterialisedSeries, *, afresh: bool = False) -> CountsT:
        """Return the counts of a metric whose series were brought up to date. ``afresh``: from all facts.

        Of several requests for one metric the first does the work, and the others add what is new since.

        Raises
        ------
        ValidationFailed
            With the code ``events_removed``: the metric is about a time whose events were removed before it was asked.
        """
        if metric.since < series.events_since:
            raise events_removed(series.events_since)
        async with self._materialiser.turn((self._project_id, metric.digest)):
            counted, is_news = await self._count(metric, series, afresh=afresh or not metric.can_be_added_to)
            if metric.can_be_added_to and is_news and len(counted.future) < MAX_NEW:
                async with self._database.write() as session:
                    await CountRepository(session, self._project_id).store(metric.digest, counted.to_stored())
        return counted.counts

    async def _count(
        self, metric: Metric[CountsT], series: MaterialisedSeries, *, afresh: bool
    ) -> tuple[Counted[CountsT], bool]:
        """Return the counts, and whether they differ enough from the stored ones to be kept."""
        async with self._database.snapshot() as session:
            counter = MetricCounter(session, self._project_id, metric, series, self._cohorts)
            known = None if afresh else await counter.find_stored()
            if known is not None and (added := await counter.add_new(known)) is not None:
                return added, added.counts is not known.counts
            return await counter.count_all(), True
