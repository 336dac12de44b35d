"""Experiments as other features load them: to be shown, or counted."""

from collections.abc import Sequence

from app.common.errors import NotFound
from app.common.ids import read_id
from app.experiments.repository import ExperimentReader, ExperimentRecord, ExperimentSelection


class ExperimentViews:
    """Experiments to be shown."""

    def __init__(self, reader: ExperimentReader) -> None:
        self._reader = reader

    async def get(self, reference: str) -> ExperimentRecord:
        """Return the experiment that a path names; whatever is no number names none."""
        experiment_id = read_id(reference)
        record = await self._reader.get(experiment_id) if experiment_id else None
        if record is None:
            raise NotFound
        return record

    async def page(
        self, selection: ExperimentSelection, limit: int, offset: int
    ) -> tuple[int, Sequence[ExperimentRecord]]:
        """Return how many there are in all, and a window of them."""
        records = await self._reader.page(selection, limit, offset)
        if len(records) < limit and (records or not offset):  # the end is in sight
            return offset + len(records), records
        return await self._reader.count(selection), records
