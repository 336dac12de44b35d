"""The evidence about a target metric that is typed: it is counted of exposed persons, as the scorecard has it."""

from app.common.errors import ValidationFailed
from app.experiments.results.target import MetricEvidence
from app.experiments.scorecard.counting import PRIMARY, Scorecard
from app.statistics.variants import CountVariant, FunnelVariant, MetricVariant, Sum


def typed_evidence(scorecard: Scorecard) -> MetricEvidence | ValidationFailed | None:
    """Return the persons whose values were counted, or why there are none; None where the target is not typed.

    Where not one of them has a value other than 0, no event was counted, and the evidence is empty.
    """
    target = next((one for one in scorecard.metrics if one.metric.id == PRIMARY), None)
    if target is None or target.metric.typed is None:
        return None
    if target.problem:
        return ValidationFailed(target.problem)
    variants = target.variants(scorecard.scope.variants, -1) or []
    sums = [_sums(one) for one in variants]
    has_values = any(total for _, total in sums)
    persons = {one.key: count if has_values else 0 for one, (count, _) in zip(variants, sums, strict=True)}
    return MetricEvidence(scorecard.exposures.query.unit, persons, 0, 0)


def _sums(variant: MetricVariant) -> tuple[int, Sum]:
    """Return the persons of a variant, and the sum of their values."""
    match variant:
        case FunnelVariant():
            return variant.total, variant.success_count
        case CountVariant():
            return int(variant.persons), variant.count
        case _:
            return variant.number_of_samples, variant.sum
