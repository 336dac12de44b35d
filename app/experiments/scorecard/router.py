"""The scorecard of an experiment: additions to the API of 2022."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.params import Depends

from app.accounts.auth.dependencies import get_project, require_scope
from app.accounts.auth.rate_limits import ANALYTICS
from app.experiments.dependencies import AttributedExperimentDep, DetachedExperimentDep
from app.experiments.scorecard.dependencies import BreakdownDep, BreakdownsDep, ScorecardsDep
from app.experiments.scorecard.schemas import DecisionRead, ScorecardRead, TimeseriesRead
from app.experiments.scorecard.steps import MOST_POINTS, STEP_INTERVALS, USUAL_POINTS, read_interval
from app.http.routing import answer_other_methods

router = APIRouter(
    prefix="/api/projects/{project_id}/experiments",
    tags=["Analysis"],
    dependencies=[require_scope("experiment", ANALYTICS)],
)


@router.get("/{experiment_id}/analysis/", summary="Analyze an experiment")
async def retrieve_analysis(
    experiment: AttributedExperimentDep, scorecards: ScorecardsDep, breakdowns: BreakdownsDep, asked: BreakdownDep
) -> ScorecardRead:
    """Return the analysis of the target metric, of all secondary metrics and of all typed metrics, as of now.

    Each is the object that `analyze` returns for the same counts, by the experiment's `stats_config`; corrections for
    multiple testing are made over all metrics. Unlike the verdict of `results`, which keeps the rule of 2022, its
    significance is valid however often you look.

    With `breakdown`, the name of a property, the answer has a metric for each of its values as well. By `exposure`,
    persons are parted by the property of their first exposure event (or their own, as it is today), and each value is
    an experiment of its own with a test of its split. By `metric`, the events of a mean, a quantile or a trend are
    parted, relative to all exposed persons. Segments are exploratory: their p-values are corrected for the number of
    comparisons. A metric whose definition has a `breakdownFilter` has its own `breakdown` each time.
    """
    analysis = await breakdowns.with_own(experiment, await scorecards.analysis(experiment))
    if asked is None:
        return analysis
    found = await breakdowns.break_down(experiment, asked.metric_id, asked.breakdown)
    return analysis.model_copy(update={"breakdown": found})


@router.get("/{experiment_id}/timeseries_results/", summary="See how the analysis developed")
async def retrieve_timeseries(
    experiment: DetachedExperimentDep,
    scorecards: ScorecardsDep,
    metric: Annotated[
        str,
        Query(
            description="`primary`; `secondary-` and an index of `secondary_metrics`, from 0; or the `uuid` of a typed "
            "metric, also of the target metric and of saved ones.",
        ),
    ] = "primary",
    interval: Annotated[
        str | None,
        Query(
            description=f"Length of the steps: {', '.join(f'`{name}`' for name in STEP_INTERVALS)}. There may be at "
            f"most {MOST_POINTS:,}. Unless it is given, it is the shortest of which there are at most {USUAL_POINTS}.",
            examples=["week"],
        ),
    ] = None,
) -> TimeseriesRead:
    """Return the analysis as it was at the end of each day so far: effect, intervals and probabilities, by day.

    Of a long experiment it is that of each week (from Sunday) or month; `interval` says so. All steps are computed in
    one pass over the data. Late events and merged persons change the days that they belong to.
    """
    return await scorecards.timeseries(experiment, metric, read_interval(interval))


@router.get("/{experiment_id}/decision/", summary="Get a recommendation")
async def retrieve_decision(experiment: DetachedExperimentDep, scorecards: ScorecardsDep) -> DecisionRead:
    """Return a recommendation by an explicit rule, with its reasons, in every state of an experiment.

    Broken data block every decision. A variant is shipped when the target metric is significantly better and no
    guardrail is worse than its margin; when all variants are worse or harmful, the experiment is rolled back. Without
    data there is no advice; after the end the answer says what was decided. One table has it all:
    `docs/reference/recommendations.md`.
    Guardrails are secondary metrics with `role: guardrail`, a `goal` (`increase` or `decrease`) and a
    `non_inferiority_margin`, the relative harm that is allowed (0.05 unless it is given). Where the baseline is zero,
    below zero or too close to it to divide by, the absolute difference is held against that share of its size.
    `decision_criteria` of the experiment set the rest.
    """
    return await scorecards.decision(experiment)


answer_other_methods(router, Depends(get_project))
