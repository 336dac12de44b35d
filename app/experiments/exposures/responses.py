"""Builds the response body of exposures."""

from collections.abc import Sequence

from app.experiments.exposures.counting import Exposures
from app.experiments.exposures.schemas import (
    SEVERAL,
    DateRangeRead,
    DistributionRead,
    ExposureAccountingRead,
    ExposureEventRead,
    ExposureSeriesRead,
    ExposuresRead,
)
from app.experiments.exposures.traffic_split import Distribution


def write_exposures(exposures: Exposures) -> ExposuresRead:
    scope, counts, ticks = exposures.scope, exposures.counts, exposures.ticks
    rows = [*scope.variants, SEVERAL]
    missing, unknown = int(counts.events[0]), int(counts.events[-1])
    days, labels = ticks.days(), ticks.labels()
    exposed, several = sum(exposures.exposed.values()), counts.in_several
    return ExposuresRead(
        exposure=ExposureEventRead.model_validate(exposures.query),
        date_range=DateRangeRead.of(scope.start, scope.last, scope.timezone),
        total_exposures={**exposures.exposed, SEVERAL: several},
        timeseries=[
            ExposureSeriesRead(variant=variant, days=days, labels=labels, exposure_counts=row.tolist())
            for variant, row in zip(rows, counts.first, strict=True)
        ],
        accounting=ExposureAccountingRead(
            exposure_events=counts.event_count,
            outside_window=counts.outside,
            test_accounts=counts.test_accounts,
            missing_variant=missing,
            unknown_variant=unknown,
            with_variant=int(counts.events.sum()) - missing - unknown,
            persons_seen=counts.persons,
            persons_without_variant=counts.persons - exposed - several - counts.not_activated - counts.holdout,
            not_activated=counts.not_activated,
            multiple_variants=several,
            analysed=exposed,
            holdout=counts.holdout,
            holdout_events=counts.holdout_events,
            without_group=counts.without_actor,
        ),
        unit=exposures.query.unit,
        lost_variants=exposures.lost,
    )


def write_distributions(distributions: Sequence[Distribution]) -> list[DistributionRead]:
    return [
        DistributionRead.model_validate(
            {
                "effective_from": one.effective_from,
                "rollout_percentage": one.assignment.rollout_percentage,
                "holdout": one.assignment.holdout_percentage,
                "variants": [{"key": key, "rollout_percentage": share} for key, share in one.assignment.shares.items()],
                "changed_by": one.changed_by,
            }
        )
        for one in distributions
    ]
