"""The numbers that requests of analysis and planning are made of: their types with limits, and names of sums."""

import math
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.common import limits
from app.http.fields import refuse_null

# Far beyond anything counted, and safe from overflow when squared.
_LARGEST_COUNT = 10**18
_LARGEST_AMOUNT = 1e150
_LARGEST_SQUARE = 1e300
_SMALLEST = 1e-18
MOST_VARIANTS = limits.VARIANTS.value


def _read_number(value: object) -> object:
    refuse_null(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or (isinstance(value, float) and not math.isfinite(value)):
        raise PydanticCustomError("invalid_input", "A valid number is required.")
    return value


def _read_whole_number(value: object) -> object:
    number = _read_number(value)
    if isinstance(number, float) and not number.is_integer():
        raise PydanticCustomError("invalid_input", "A valid integer is required.")
    return number


def _between(low: float, high: float) -> BeforeValidator:
    def check(value: float) -> float:
        if value < low:
            message = "Ensure this value is greater than or equal to {limit}."
            raise PydanticCustomError("min_value", message, {"limit": low})
        if value > high:
            message = "Ensure this value is less than or equal to {limit}."
            raise PydanticCustomError("max_value", message, {"limit": high})
        return value

    return BeforeValidator(check)


def _shown_as(kind: str, low: float, high: float) -> WithJsonSchema:
    return WithJsonSchema({"type": kind, "minimum": low, "maximum": high}, mode="validation")


# In ``Annotated`` validators before the type run from the last to the first: limits are held against the number sent.
# Whole numbers stay whole where fractions are allowed too: variances are worked out in exact arithmetic.
Count: TypeAlias = Annotated[
    int, _between(0, _LARGEST_COUNT), BeforeValidator(_read_whole_number), _shown_as("integer", 0, _LARGEST_COUNT)
]
Amount: TypeAlias = Annotated[
    int | float,
    _between(-_LARGEST_AMOUNT, _LARGEST_AMOUNT),
    BeforeValidator(_read_number),
    _shown_as("number", -_LARGEST_AMOUNT, _LARGEST_AMOUNT),
]
Square: TypeAlias = Annotated[
    int | float,
    _between(0, _LARGEST_SQUARE),
    BeforeValidator(_read_number),
    _shown_as("number", 0, _LARGEST_SQUARE),
]
Weight: TypeAlias = Annotated[
    float, _between(0, _LARGEST_COUNT), BeforeValidator(_read_number), _shown_as("number", 0, _LARGEST_COUNT)
]
Quantity: TypeAlias = Annotated[
    float,
    _between(_SMALLEST, _LARGEST_COUNT),
    BeforeValidator(_read_number),
    _shown_as("number", _SMALLEST, _LARGEST_COUNT),
]
Level: TypeAlias = Annotated[
    float, _between(0.5, 0.9999), BeforeValidator(_read_number), _shown_as("number", 0.5, 0.9999)
]
ErrorRate: TypeAlias = Annotated[
    float, _between(1e-9, 0.5), BeforeValidator(_read_number), _shown_as("number", 1e-9, 0.5)
]
Power: TypeAlias = Annotated[
    float, _between(0.5, 1 - 1e-9), BeforeValidator(_read_number), _shown_as("number", 0.5, 1 - 1e-9)
]
GroupCount: TypeAlias = Annotated[
    int, _between(2, MOST_VARIANTS), BeforeValidator(_read_whole_number), _shown_as("integer", 2, MOST_VARIANTS)
]

# The sums of a ratio's covariate, in the order of ``RatioCovariate``.
COVARIATE_OF_RATIO = (
    "covariate_sum",
    "covariate_sum_squares",
    "covariate_denominator_sum",
    "covariate_denominator_sum_squares",
    "covariate_numerator_denominator_sum_product",
    "main_covariate_sum_product",
    "main_covariate_denominator_sum_product",
    "denominator_covariate_sum_product",
    "denominator_covariate_denominator_sum_product",
)
