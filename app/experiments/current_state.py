"""The present status of an experiment, and all that the activity log compares of it."""

import datetime as dt

from app.activity_log.changes import State
from app.common.timestamps import write_moment
from app.db.models import Experiment, utc_now
from app.experiments.lifecycle import Status, status_of


def current_status(experiment: Experiment, now: dt.datetime | None = None) -> Status:
    flag = experiment.feature_flag
    is_released = flag.active and not flag.deleted and experiment.baseline_hold is None
    is_frozen = experiment.exposure_freeze is not None
    at = now or utc_now()
    return status_of(experiment.start_date, experiment.end_date, at, is_released=is_released, is_frozen=is_frozen)


def state_of(experiment: Experiment) -> State:
    """Return the experiment as the activity log shows it."""
    return {
        "name": experiment.name,
        "description": experiment.description,
        "status": current_status(experiment),
        "start_date": experiment.start_date and write_moment(experiment.start_date),
        "end_date": experiment.end_date and write_moment(experiment.end_date),
        "feature_flag_key": experiment.feature_flag.key,
        "parameters": experiment.parameters,
        "secondary_metrics": experiment.secondary_metrics,
        "filters": experiment.filters,
        "metrics": experiment.metrics,
        "metrics_secondary": experiment.metrics_secondary,
        "exposure_criteria": experiment.exposure_criteria,
        "saved_metrics_ids": experiment.saved_metrics_ids,
        "only_count_matured_users": experiment.only_count_matured_users,
        "scheduling_config": experiment.scheduling_config,
        "circuit_breakers": experiment.circuit_breakers,
        "holdout_id": experiment.holdout_id,
        "automatic_actions": experiment.automatic_actions,
        "archived": experiment.archived,
        "conclusion": experiment.conclusion,
        "conclusion_comment": experiment.conclusion_comment,
        "stats_config": experiment.stats_config,
        "decision_criteria": experiment.decision_criteria,
    }
