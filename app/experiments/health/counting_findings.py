"""Findings about what cannot be counted, beside those that rules read off the counts."""

from collections.abc import Sequence

from pydantic import JsonValue

from app.experiments.health.rules import Finding


def exposures_removed(detail: str) -> Finding:
    """Return the finding for an experiment whose exposure events were removed."""
    return Finding(
        "EVENTS_REMOVED",
        None,
        "warning",
        "Exposures cannot be counted any more",
        detail,
        {},
        ["Start a new experiment, or go back to the exposure event that was counted before."],
    )


def filters_not_understood(problems: Sequence[str]) -> Finding:
    """Return the finding for stored filters that match no one: not understood, or about what is gone."""
    shown: list[JsonValue] = list(problems)
    return Finding(
        "FILTER_NOT_UNDERSTOOD",
        None,
        "critical",
        "A filter is not understood",
        f"What cannot be evaluated matches no one, whatever it was meant to say: {'; '.join(problems)}",
        {"problems": shown},
        ["Write the filter as `docs/reference/filters.md` says, or remove what is gone from it."],
    )


def metric_not_counted(metric_id: str, name: str, detail: str) -> Finding:
    """Return the finding for a metric that repeatedly could not be counted in the background."""
    return Finding(
        "METRIC_NOT_COUNTED",
        None,
        "warning",
        "A metric cannot be counted",
        f"Counting {name!r} failed several times in a row: {detail} It is tried again ever more rarely.",
        {"metric_id": metric_id},
        [
            "Simplify the metric: fewer steps, conditions or intervals, or a later start.",
            "Change the metric, and it is tried at once.",
        ],
    )
