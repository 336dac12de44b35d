"""Loads the experiments that paths name, to be shown or counted."""

from collections.abc import Sequence

from app.common.errors import NotFound
from app.common.ids import read_id
from app.common.page_sizes import fitting
from app.db.models import Experiment
from app.experiments.repository import ExperimentQueries, ExperimentRecord, ExperimentRepository, ExperimentSelection


async def load_experiment(experiments: ExperimentRepository, reference: str, *, for_update: bool = False) -> Experiment:
    """Return the experiment that a path names, on request locked against other writers.

    Raises
    ------
    NotFound
        The reference is not the id of an experiment of the project.
    """
    experiment_id = read_id(reference)
    experiment = await experiments.get(experiment_id, for_update=for_update) if experiment_id else None
    if experiment is None:
        raise NotFound
    return experiment


async def load_detached_experiment(experiments: ExperimentQueries, reference: str) -> Experiment:
    """Return the experiment that a path names, outside any session; ``NotFound`` if there is none with this id."""
    experiment_id = read_id(reference)
    experiment = await experiments.get_detached(experiment_id) if experiment_id else None
    if experiment is None:
        raise NotFound
    return experiment


class ExperimentViews:
    """Experiments to be shown."""

    def __init__(self, queries: ExperimentQueries) -> None:
        self._queries = queries

    async def get(self, reference: str) -> ExperimentRecord:
        """Return the experiment that a path names; ``NotFound`` if there is none with this id."""
        experiment_id = read_id(reference)
        record = await self._queries.get(experiment_id) if experiment_id else None
        if record is None:
            raise NotFound
        return record

    async def page(
        self, selection: ExperimentSelection, limit: int, offset: int
    ) -> tuple[int, Sequence[ExperimentRecord]]:
        """Return the total count, and one page: fewer than ``limit`` where they are large."""
        sizes = await self._queries.sizes(selection, limit, offset)
        records = await self._queries.page(selection, fitting(sizes), offset) if sizes else []
        if len(sizes) < limit and (sizes or not offset):  # the last page, whose length gives the total
            return offset + len(sizes), records
        return await self._queries.count(selection), records
