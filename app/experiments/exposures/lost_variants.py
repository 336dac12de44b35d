"""Variants that persons were shown and the flag has no longer, in words and in refusals."""

from app.common.errors import ValidationFailed
from app.experiments.exposures.counting import Exposures
from app.statistics.posthog_2022.errors import ExperimentDataError, NoControlVariant, TooFewVariants


def describe_lost_variants(exposures: Exposures) -> str:
    """Return a sentence that names the lost variants and their persons; an empty text without any."""
    lost, unit = exposures.lost, exposures.query.unit
    if not lost:
        return ""
    named = ", ".join(f"{variant!r} ({persons} {unit})" for variant, persons in lost.items())
    return f"The flag no longer has {named}: what they did is in no figure."


def refuse_data(error: ExperimentDataError, exposures: Exposures, reason: str | None = None) -> ValidationFailed:
    """Return the refusal of 2022 for data without a verdict, with a reason and the lost variants if there are any."""
    detail = ". ".join(filter(None, [str(error), reason, describe_lost_variants(exposures)]))
    return ValidationFailed(detail, code=error.code)


def require_variants(exposures: Exposures) -> None:
    """Refuse to compare fewer than two variants, in the words of results.

    Raises
    ------
    ValidationFailed
        With the code ``no_data``.
    """
    if len(exposures.compared) < 2:
        raise refuse_data(TooFewVariants() if exposures.compared else NoControlVariant(), exposures)
