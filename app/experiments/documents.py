"""The documents of an experiment, as they are stored and as its flag takes them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, JsonValue

from app.common import limits
from app.common.errors import ValidationFailed
from app.db.models import Experiment
from app.experiments.compared_variants import refuse_impossible_exclusions
from app.experiments.document_checks import ROLLOUT
from app.experiments.schemas import ExperimentUpdate
from app.flags.filters import PLANNED_VARIANTS, JsonDict, variant_keys, variants_of
from app.flags.interventions import rollout_of
from app.metrics.queries.typed.schemas import MetricBody
from app.properties.budget import size_of

# The fields of an experiment that are stored as a client sends them, and exported.
STORED_AS_SENT: Final = (
    "name",
    "description",
    "start_date",
    "end_date",
    "parameters",
    "secondary_metrics",
    "filters",
    "metrics",
    "metrics_secondary",
    "exposure_criteria",
    "saved_metrics_ids",
    "only_count_matured_users",
    "circuit_breakers",
    "archived",
    "conclusion",
    "conclusion_comment",
    "stats_config",
    "decision_criteria",
)


def plain(value: object) -> Any:  # noqa: ANN401  # what a column takes
    """Return a value as it is stored; of settings, those that were sent."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, MetricBody):
        return value.to_stored()
    return value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else value


def refuse_large(documents: Mapping[str, JsonValue], before: Mapping[str, JsonValue] | None = None) -> None:
    """Refuse documents that are too large together; those of an older experiment may still become smaller."""
    sizes = {field: size_of(document) for field, document in documents.items()}
    held = sum(map(size_of, before.values())) if before else 0
    if sum(sizes.values()) > max(held, limits.DOCUMENT_BYTES.value):
        largest = max(sizes, key=sizes.__getitem__)
        raise ValidationFailed(limits.DOCUMENT_BYTES.detail, code="too_large", attr=largest)


GROUP_TYPE: Final = "aggregation_group_type_index"


def participants(filters: Mapping[str, JsonValue]) -> list[JsonDict] | None:
    properties = filters.get("properties")
    return [item for item in properties if isinstance(item, dict)] if isinstance(properties, list) else None


def aggregation_group_type_index(filters: Mapping[str, JsonValue], parameters: JsonValue) -> int | None:
    """Return the type of the groups that take part; clients name it in the filters, or, later ones, as a parameter."""
    later = parameters.get(GROUP_TYPE) if isinstance(parameters, dict) else None
    index = filters.get(GROUP_TYPE, later)
    return index if isinstance(index, int) and not isinstance(index, bool) else None


def variants(parameters: JsonValue) -> list[JsonDict] | None:
    """Return the variants in the parameters, if there are any."""
    variants = parameters.get(PLANNED_VARIANTS) if isinstance(parameters, dict) else None
    return [variant for variant in variants if isinstance(variant, dict)] if isinstance(variants, list) else None


def refuse_other_variants(of_flag: Sequence[JsonDict], given: Sequence[JsonDict]) -> None:
    """Refuse to change the flag's split through the experiment; the same variants may come in any order."""
    shares = {variant["key"]: variant.get("rollout_percentage") for variant in of_flag}
    same = len(given) == len(of_flag) and all(
        variant["key"] in shares and shares[variant["key"]] == variant.get("rollout_percentage") for variant in given
    )
    if not same:
        raise ValidationFailed("Can't update feature_flag_variants on Experiment")


def rollout(parameters: JsonValue) -> JsonValue:
    """Return the percentage of the participants who get a variant, if the parameters say it."""
    return parameters.get(ROLLOUT) if isinstance(parameters, dict) else None


def refuse_other_rollout(flag_filters: JsonDict, given: JsonValue) -> None:
    """Refuse to change the flag's rollout through the experiment, and to pass over one that differs."""
    if given is not None and given != rollout_of(flag_filters):
        raise ValidationFailed(
            f"Can't update {ROLLOUT} on Experiment: change the release conditions of its feature flag.",
            attr="parameters",
        )


def refuse_foreign_parts(experiment: Experiment, body: ExperimentUpdate) -> None:
    """Refuse variants that are not the flag's, in the plan and among those that are not compared, and a new rollout."""
    flag_filters = experiment.feature_flag.filters
    planned = variants(body.parameters)
    if planned is not None and planned != variants(experiment.parameters):
        refuse_other_variants(variants_of(flag_filters), planned)
    if (share := rollout(body.parameters)) != rollout(experiment.parameters):
        refuse_other_rollout(flag_filters, share)
    refuse_impossible_exclusions(variant_keys(flag_filters), plain(body.stats_config))
