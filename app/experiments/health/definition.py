"""Checks an experiment's definition without counting: what keeps a draft from being launched."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from app.common import limits
from app.common.errors import ValidationFailed
from app.common.time_slices import TimeSlices
from app.db.models import Experiment
from app.experiments.automation.schemas import read_schedule
from app.experiments.compared_variants import find_exclusion_problem
from app.experiments.scorecard.experiment_metrics import PRIMARY, ExperimentMetric, metrics_of
from app.experiments.scorecard.metric_settings import unknown_settings
from app.flags.filters import is_multivariate, variant_keys
from app.flags.interventions import rollout_of
from app.metrics.queries.entities import Filters
from app.metrics.queries.parsing import custom_exposure
from app.metrics.queries.service import MetricQueryBuilder

_COUNTED: Final = ("FUNNELS", "TRENDS")
_SHOWN_CHARACTERS: Final = 40
_NAMED_PROBLEMS: Final = 10


@dataclass(frozen=True)
class Problem:
    """What is wrong with a field of an experiment; ``code`` and ``detail`` are those of the refusal to launch it."""

    attr: str
    detail: str
    code: str = "invalid_input"


class DefinitionChecker:
    """Checks the definitions of one project's experiments, on connections of its own."""

    def __init__(self, queries: MetricQueryBuilder) -> None:
        self._queries = queries

    async def problems(self, experiment: Experiment) -> Sequence[Problem]:
        """Return all that is wrong with the metrics, the exposure and the settings of an experiment."""
        refused = await find_refused_parts(self._queries, experiment, self._find_problem)
        found = [_write_problem(metric, detail) for metric, detail in refused]
        found += _find_repeated_ids(experiment)
        exposure = custom_exposure(experiment.parameters)
        if exposure and (detail := await self._find_problem({**exposure, "insight": "TRENDS"})):
            found.append(Problem("parameters", f"`custom_exposure_filter`: {detail}"))
        found += [Problem("secondary_metrics", one.detail) for one in unknown_settings(experiment.secondary_metrics)]
        return [*found, *_find_unknown_baseline(experiment)]

    async def refuse_invalid(self, experiment: Experiment) -> None:
        """Refuse an experiment with problems.

        Raises
        ------
        ValidationFailed
            It names the first problems, and the field of the first.
        """
        problems = await self.problems(experiment)
        if problems:
            left_out = len(problems) - _NAMED_PROBLEMS
            detail = " ".join(problem.detail for problem in problems[:_NAMED_PROBLEMS])
            detail += f" There are {left_out} more problems: see `health/`." if left_out > 0 else ""
            raise ValidationFailed(detail, code=problems[0].code, attr=problems[0].attr)

    async def _find_problem(self, filters: Filters) -> str:
        """Return why a metric cannot be counted, or an empty text."""
        if not filters:
            return "It does not say what to count."
        insight = filters.get("insight", "TRENDS")
        if not isinstance(insight, str) or insight.upper() not in _COUNTED:
            shown = ascii(insight)[:_SHOWN_CHARACTERS]
            return f"The insight {shown} cannot be counted; known are {', '.join(_COUNTED)}."
        try:
            if insight.upper() == "TRENDS":
                return "" if await self._queries.trend(filters) else "The trend has no event or action that exists."
            return "" if (await self._queries.funnel(filters)).steps else "The funnel has no steps."
        except ValidationFailed as refusal:
            return refusal.detail


async def find_refused_parts(
    queries: MetricQueryBuilder, experiment: Experiment, find_problem: Callable[[Filters], Awaitable[str]]
) -> list[tuple[ExperimentMetric | None, str]]:
    """Return the metrics that are refused today, and None for the exposure criteria, each with why.

    ``find_problem`` says why a metric of 2022 is refused.
    """
    found: list[tuple[ExperimentMetric | None, str]] = []
    slices = TimeSlices()
    for metric in metrics_of(experiment):
        await slices.pause()  # each takes a millisecond of the event loop
        if metric.typed is None:
            detail = await find_problem(metric.filters)
        else:
            detail = await queries.problem_of_typed(metric.typed, experiment)
        if detail:
            found.append((metric, detail))
    if detail := await queries.problem_of_criteria(experiment):
        found.append((None, detail))
    return found


def _write_problem(metric: ExperimentMetric | None, detail: str) -> Problem:
    if metric is None:
        return Problem("exposure_criteria", f"`exposure_criteria`: {detail}")
    if metric.typed is not None:
        return Problem("metrics", f"The metric {metric.name!r}: {detail}")
    if metric.id == PRIMARY:
        return Problem("filters", f"The target metric: {detail}")
    return Problem("secondary_metrics", f"Secondary metric {metric.id.rpartition('-')[2]}: {detail}")


def _find_repeated_ids(experiment: Experiment) -> list[Problem]:
    """Return a problem for each id that several typed metrics have: only one of them could be asked for."""
    counts = Counter(metric.uuid for metric in metrics_of(experiment) if metric.uuid is not None)
    return [
        Problem("metrics", f"Several metrics have the uuid {uuid}: each needs its own.")
        for uuid, count in counts.items()
        if count > 1
    ]


def find_flag_problems(experiment: Experiment) -> list[Problem]:
    """Return what of its flag keeps an experiment from being launched."""
    flag, found = experiment.feature_flag, []
    if flag.deleted:
        found.append(Problem("feature_flag_key", "The experiment's feature flag is deleted.", "invalid_state"))
    variants = variant_keys(flag.filters)
    if not is_multivariate(flag.filters):
        detail = f"The feature flag has {len(variants)} variants; an experiment needs 2 to {limits.VARIANTS.value}."
        found.append(Problem("feature_flag_key", detail, "invalid_state"))
    elif detail := find_exclusion_problem(variants, experiment.stats_config):
        found.append(Problem("stats_config", detail))
    if read_schedule(experiment.scheduling_config).ramp and rollout_of(flag.filters) is None:
        detail = "A ramp needs a feature flag with exactly one release condition, whose rollout grows."
        found.append(Problem("scheduling_config", detail, "invalid_state"))
    return found


def _find_unknown_baseline(experiment: Experiment) -> list[Problem]:
    settings = experiment.stats_config
    baseline = settings.get("baseline_variant_key") if isinstance(settings, dict) else None
    variants = variant_keys(experiment.feature_flag.filters)
    if not baseline or baseline in variants:
        return []
    detail = f"The baseline {ascii(baseline)[:_SHOWN_CHARACTERS]} is not a variant of the flag: {', '.join(variants)}."
    return [Problem("stats_config", detail)]
