"""The rules of experiments, in the order in which the documented API checks them."""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from app.errors import NotFound, ValidationFailed
from app.experiments.repository import ExperimentReader, ExperimentRecord, ExperimentRepository, ExperimentSelection
from app.experiments.schemas import VARIANTS, ExperimentCreate, ExperimentUpdate
from app.flags.filters import JsonDict, variants_of
from app.flags.service import FlagService
from app.models import Experiment, User, utc_now
from app.types import read_id

_STORED_AS_SENT = (
    "name",
    "description",
    "start_date",
    "end_date",
    "parameters",
    "secondary_metrics",
    "filters",
    "archived",
)


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


class ExperimentService:
    """Experiments to be changed."""

    def __init__(self, experiments: ExperimentRepository, flags: FlagService) -> None:
        self._experiments = experiments
        self._flags = flags

    async def get(self, reference: str, *, for_update: bool = False) -> Experiment:
        """Return the experiment that a path names; whatever is no number names none."""
        experiment_id = read_id(reference)
        experiment = await self._experiments.get(experiment_id, for_update=for_update) if experiment_id else None
        if experiment is None:
            raise NotFound
        return experiment

    async def record(self, experiment: Experiment) -> ExperimentRecord:
        """Return the experiment as it is by now, to be shown."""
        return await self._experiments.record(experiment)

    async def create(self, body: ExperimentCreate, created_by: User) -> Experiment:
        if not isinstance(body.filters, dict) or not body.filters:
            raise ValidationFailed("Filters are required to create an Experiment")
        flag = await self._flags.create_for_experiment(
            key=body.feature_flag_key,
            experiment_name=body.name,
            active=body.start_date is not None,
            properties=_participants(body.filters) or [],
            variants=_variants(body.parameters) or [],
            aggregation_group_type_index=_aggregation_group_type_index(body.filters),
            created_by=created_by,
        )
        experiment = Experiment(
            name=body.name,
            description=body.description,
            start_date=body.start_date,
            end_date=body.end_date,
            feature_flag=flag,
            parameters=body.parameters,
            secondary_metrics=body.secondary_metrics,
            filters=body.filters,
            archived=body.archived,
            created_by_id=created_by.id,
        )
        await self._experiments.add(experiment)
        return experiment

    async def update(self, experiment: Experiment, body: ExperimentUpdate) -> Experiment:
        sent = body.model_fields_set
        flag = experiment.feature_flag
        if "feature_flag_key" in sent and body.feature_flag_key != flag.key:
            raise ValidationFailed("Can't update keys: get_feature_flag_key on Experiment")
        variants = _variants(body.parameters)
        if variants is not None:
            _refuse_other_variants(variants_of(flag.filters), variants)
        if body.filters:
            await self._flags.rewrite_participants(
                flag, _participants(body.filters), _aggregation_group_type_index(body.filters)
            )
        if experiment.start_date is None and body.start_date is not None:
            await self._flags.launch(flag)
        for field in _STORED_AS_SENT:
            if field in sent:
                setattr(experiment, field, getattr(body, field))
        experiment.updated_at = utc_now()
        await self._experiments.flush()
        return experiment

    async def delete(self, experiment: Experiment) -> None:
        """Remove the experiment for good; its flag is marked as deleted, which frees the key."""
        await self._flags.delete(experiment.feature_flag)
        await self._experiments.delete(experiment)


def _participants(filters: Mapping[str, JsonValue]) -> list[JsonDict] | None:
    properties = filters.get("properties")
    return [item for item in properties if isinstance(item, dict)] if isinstance(properties, list) else None


def _aggregation_group_type_index(filters: Mapping[str, JsonValue]) -> int | None:
    index = filters.get("aggregation_group_type_index")
    return index if isinstance(index, int) else None


def _variants(parameters: JsonValue) -> list[JsonDict] | None:
    """Return the variants that parameters name, if they do."""
    variants = parameters.get(VARIANTS) if isinstance(parameters, dict) else None
    return [variant for variant in variants if isinstance(variant, dict)] if isinstance(variants, list) else None


def _refuse_other_variants(of_flag: Sequence[JsonDict], given: Sequence[JsonDict]) -> None:
    """The flag's split is not changed through the experiment; the same variants may be sent in any order."""
    shares = {variant["key"]: variant.get("rollout_percentage") for variant in of_flag}
    same = len(given) == len(of_flag) and all(
        variant["key"] in shares and shares[variant["key"]] == variant.get("rollout_percentage") for variant in given
    )
    if not same:
        raise ValidationFailed("Can't update feature_flag_variants on Experiment")
