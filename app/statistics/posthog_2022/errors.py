"""Errors for data without a verdict; the messages are those of the 2022 API.

ExperimentDataError
├── NoControlVariant
├── TooFewVariants
└── TooManyVariants
"""

from typing import ClassVar


class ExperimentDataError(ValueError):
    """Too few or too many variants have data for a comparison."""

    code: ClassVar[str]
    message: ClassVar[str]

    def __init__(self) -> None:
        super().__init__(self.message)


class NoControlVariant(ExperimentDataError):
    code = "no_data"
    message = "No control variant data found"


class TooFewVariants(ExperimentDataError):
    code = "no_data"
    message = "Can't calculate A/B test results for less than 2 variants"


class TooManyVariants(ExperimentDataError):
    code = "too_much_data"
    message = "Can't calculate A/B test results for more than 10 variants"
