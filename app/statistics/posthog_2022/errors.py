"""Data that no verdict can be reached on; the messages are those of the 2022 API.

ExperimentDataError
├── NoControlVariant
├── TooFewVariants
└── TooManyVariants
"""

from typing import ClassVar


class ExperimentDataError(ValueError):
    """The variants that have data are not enough, or too many, for a comparison."""

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
