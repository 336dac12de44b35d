"""The 2022 rule of significance: its codes and thresholds."""

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
    """The outcomes of the rule, in the order in which it tests for them; first where it does not apply."""

    NOT_COMPARABLE = "not_comparable"
    NOT_ENOUGH_EXPOSURE = "not_enough_exposure"
    LOW_WIN_PROBABILITY = "low_win_probability"
    HIGH_LOSS = "high_loss"
    HIGH_P_VALUE = "high_p_value"
    SIGNIFICANT = "significant"


class Variant(Protocol):
    @property
    def key(self) -> str: ...


def require_comparable(variants: Sequence[Variant]) -> None:
    """Refuse variants without control as the first, without tests, or more than ten.

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
    """Whether neither control nor the tests together contain the best variant with sufficient probability."""
    control = probability[CONTROL]
    tests = sum(value for key, value in probability.items() if key != CONTROL)
    return control < MIN_PROBABILITY and tests < MIN_PROBABILITY
