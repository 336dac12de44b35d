"""What a copy of an experiment takes over, and what it does not."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from app.db.models import Experiment
from app.experiments.automation.planning import metric_of, without_times
from app.experiments.automation.schemas import read_breakers, read_schedule


def copied_fields(experiment: Experiment) -> dict[str, Any]:
    """Return what a copy of an experiment is created with, besides its name and the key of its flag.

    Its metrics get ids of their own, which its circuit breakers follow.
    """
    metrics = [*(experiment.metrics or ()), *(experiment.metrics_secondary or ())]
    ids = {str(metric["uuid"]).lower(): str(uuid.uuid4()) for metric in metrics}
    return {
        "description": experiment.description,
        "parameters": experiment.parameters,
        "secondary_metrics": experiment.secondary_metrics,
        "filters": experiment.filters,
        "metrics": _with_ids(experiment.metrics, ids),
        "metrics_secondary": _with_ids(experiment.metrics_secondary, ids),
        "exposure_criteria": experiment.exposure_criteria,
        "saved_metrics_ids": experiment.saved_metrics_ids,
        "only_count_matured_users": experiment.only_count_matured_users,
        "scheduling_config": without_times(experiment.scheduling_config),
        "circuit_breakers": _copied_breakers(experiment, ids),
        "holdout_id": experiment.holdout_id,
        "stats_config": experiment.stats_config or None,
        "decision_criteria": experiment.decision_criteria or None,
    }


def left_out_of_copy(experiment: Experiment) -> list[str]:
    """Return what was planned for an experiment that a copy does not take over, each as a sentence."""
    found, schedule = [], read_schedule(experiment.scheduling_config)
    times = [name for name in ("start_at", "end_at") if getattr(schedule, name) is not None]
    if times:
        found.append(f"Not copied: {' and '.join(times)} of scheduling_config, which are of one run.")
    gone = [one for one in read_breakers(experiment.circuit_breakers) if metric_of(experiment, one) is None]
    if gone:
        found.append(f"Not copied: {len(gone)} of circuit_breakers, whose metrics the experiment no longer has.")
    return found


def _with_ids(metrics: Sequence[Mapping[str, JsonValue]] | None, ids: Mapping[str, str]) -> list[JsonValue] | None:
    if metrics is None:
        return None
    return [{**metric, "uuid": ids[str(metric["uuid"]).lower()]} for metric in metrics]


def _copied_breakers(experiment: Experiment, ids: Mapping[str, str]) -> list[JsonValue] | None:
    """Return the circuit breakers on metrics that the experiment still has."""
    copied: list[JsonValue] = []
    for stored, breaker in zip(
        experiment.circuit_breakers or (), read_breakers(experiment.circuit_breakers), strict=True
    ):
        if metric_of(experiment, breaker) is not None:
            named = breaker.metric_uuid
            copied.append({**stored, "metric_uuid": ids.get(named.lower(), named)})
    return copied or None
