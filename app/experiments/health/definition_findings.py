"""Findings about an experiment's definition: what can be told without counting."""

from collections.abc import Sequence

from app.db.models import Experiment
from app.experiments.health.definition import Problem
from app.experiments.health.rules import Finding
from app.experiments.lifecycle import describe_empty_window
from app.experiments.scorecard.metric_settings import unknown_settings
from app.flags.holdouts import holdout_variant, read_holdout
from app.metrics.queries.exposure_attribution import (
    ATTRIBUTION,
    attribution_of,
    describe_unknown_attribution,
    read_attribution,
)


def find_invalid_parts(problems: Sequence[Problem]) -> list[Finding]:
    """Return a finding for each part that keeps an experiment from being launched."""
    return [
        Finding(
            "INVALID_DEFINITION",
            problem.attr,
            "critical",
            "The experiment cannot be launched like this",
            problem.detail,
            {"field": problem.attr},
            [f"Change `{problem.attr}`, or the flag, before the launch."],
        )
        for problem in problems
    ]


def find_empty_window(experiment: Experiment) -> list[Finding]:
    """Return the finding for an experiment that ends before it starts."""
    detail = describe_empty_window(experiment.start_date, experiment.end_date)
    if not detail:
        return []
    return [
        Finding(
            "EMPTY_WINDOW",
            None,
            "critical",
            "The experiment ends before it starts",
            detail,
            {"start_date": str(experiment.start_date), "end_date": str(experiment.end_date)},
            ["Move `start_date` or `end_date`."],
        )
    ]


def find_unknown_settings(experiment: Experiment) -> list[Finding]:
    """Return a finding for each setting of a stored metric that is not understood, and therefore has no effect."""
    return [
        Finding(
            "UNKNOWN_SETTING",
            one.field,
            "warning",
            "A setting of a metric is not understood",
            f"{one.detail} The setting has no effect.",
            {"metric_id": f"secondary-{one.index}", "field": one.field},
            ["Change `secondary_metrics`."],
        )
        for one in unknown_settings(experiment.secondary_metrics)
    ]


def find_unknown_attribution(experiment: Experiment) -> list[Finding]:
    """Return the finding for an attribution that was stored before it had a meaning, and is none."""
    value = attribution_of(experiment.parameters)
    if value is None or read_attribution(value) is not None:
        return []
    return [
        Finding(
            "UNKNOWN_SETTING",
            ATTRIBUTION,
            "warning",
            "The attribution is not understood",
            f"`parameters.attribution`: {describe_unknown_attribution(value)} It has no effect.",
            {"field": ATTRIBUTION},
            ["Change `parameters.attribution`, or remove it."],
        )
    ]


def find_early_flag(experiment: Experiment) -> list[Finding]:
    """Return the finding for a scheduled experiment whose flag is on already."""
    flag = experiment.feature_flag
    if experiment.start_date is None or not flag.active or flag.deleted:
        return []
    return [
        Finding(
            "FLAG_STATE",
            "early",
            "info",
            "The flag is on already",
            "Variants are assigned before the experiment starts, and nothing of that time counts.",
            {"active": True, "deleted": False},
            ["Switch the flag off until the start, or launch the experiment."],
        )
    ]


def find_lost_holdout(experiment: Experiment) -> list[Finding]:
    """Return the finding for an experiment with a holdout whose flag keeps no person, or other ones, out."""
    if experiment.holdout_id is None:
        return []
    holdout, expected = read_holdout(experiment.feature_flag.filters), holdout_variant(experiment.holdout_id)
    if holdout is not None and holdout.variant == expected:
        return []
    shown = "has no holdout" if holdout is None else f"answers {holdout.variant!r}"
    return [
        Finding(
            "HOLDOUT_NOT_APPLIED",
            None,
            "critical",
            "The flag does not apply the experiment's holdout",
            f"The flag {shown}, where those of the holdout should get {expected!r}: they may be shown variants.",
            {"holdout_id": experiment.holdout_id},
            ["Write `holdout` into the flag's filters again: `id` and `exclusion_percentage` of the holdout."],
        )
    ]
