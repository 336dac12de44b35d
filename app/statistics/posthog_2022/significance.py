"""The 2022 rule by which a result is called significant, and its thresholds."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from app.statistics.posthog_2022.errors import NoControlVariant, TooFewVariants, TooManyVariants

CONTROL = "control"
MAX_VARIANTS = 10
MIN_EXPOSURE = 100
MIN_PROBABILITY = 0.9
MAX_EXPECTED_LOSS = 0.01
MAX_P_VALUE = 0.05


class SignificanceCode(StrEnum):
    """What the rule says, in the order in which it looks."""

    NOT_ENOUGH_EXPOSURE = "not_enough_exposure"
    LOW_WIN_PROBABILITY = "low_win_probability"
    HIGH_LOSS = "high_loss"
    HIGH_P_VALUE = "high_p_value"
    SIGNIFICANT = "significant"


class Variant(Protocol):
    @property
    def key(self) -> str: ...


def require_comparable(variants: Sequence[Variant]) -> None:
    """Refuse what cannot be compared: no control in the first place, no test, or more than ten variants.

    Raises
    ------
    ExperimentDataError
        One of its three kinds.
    """
    if not variants or variants[0].key != CONTROL:
        raise NoControlVariant
    if len(variants) < 2:
        raise TooFewVariants
    if len(variants) > MAX_VARIANTS:
        raise TooManyVariants


def win_probability_is_low(probability: Mapping[str, float]) -> bool:
    """Whether neither control nor the tests together are likely enough to hold the best."""
    control = probability[CONTROL]
    tests = sum(value for key, value in probability.items() if key != CONTROL)
    return control < MIN_PROBABILITY and tests < MIN_PROBABILITY
