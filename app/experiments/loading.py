"""Loads the experiments that paths name, to be shown or counted."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Path, Request

from app.accounts.auth.dependencies import ProjectDep
from app.common.errors import NotFound
from app.common.ids import read_id
from app.common.page_sizes import fitting
from app.db.models import Experiment
from app.experiments.repository import ExperimentQueries, ExperimentRecord, ExperimentRepository, ExperimentSelection
from app.http.dependencies import get_database


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


ExperimentId = Annotated[str, Path(description="An experiment's id.", examples=["1"])]


async def get_experiment_views(request: Request, project: ProjectDep) -> ExperimentViews:
    return ExperimentViews(ExperimentQueries(get_database(request), project.id))


async def get_detached_experiment(request: Request, experiment_id: ExperimentId, project: ProjectDep) -> Experiment:
    """The experiment, loaded in a transaction that has ended: for work that takes longer than one should."""
    async with get_database(request).read() as session:
        return await load_experiment(ExperimentRepository(session, project.id), experiment_id)


ExperimentViewsDep = Annotated[ExperimentViews, Depends(get_experiment_views)]
DetachedExperimentDep = Annotated[Experiment, Depends(get_detached_experiment)]
