"""Counts of one variant, by kind of metric. Impossible counts are refused."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias


@dataclass(frozen=True)
class FunnelVariant:
    """Persons of a variant that did and did not convert."""

    key: str
    success_count: int
    failure_count: int

    def __post_init__(self) -> None:
        """Refuse negative counts."""
        for name, count in (("success_count", self.success_count), ("failure_count", self.failure_count)):
            if count < 0:
                raise ValueError(f"{name} of {self.key!r} cannot be negative, got {count}")

    @property
    def total(self) -> int:
        return self.success_count + self.failure_count

    @property
    def rate(self) -> float:
        return self.success_count / self.total if self.total else 0.0


# A sum: exact where it is a fraction, which keeps the variance of values that are large beside their spread.
Sum: TypeAlias = float | Fraction

# Relative rounding error of sums of floats: a variance below zero by less than this is zero.
_ROUNDING = Fraction(1, 10**9)


@dataclass(frozen=True)
class CountVariant:
    """The number of independent events, and the exposure: persons, or time at risk.

    ``number_of_samples`` is the number of persons where the exposure is something else.
    """

    key: str
    count: int
    exposure: float
    number_of_samples: float | None = None

    def __post_init__(self) -> None:
        """Refuse negative numbers and exposures that are not positive."""
        if self.count < 0:
            raise ValueError(f"count of {self.key!r} cannot be negative, got {self.count}")
        if not (math.isfinite(self.exposure) and self.exposure > 0):
            raise ValueError(f"exposure of {self.key!r} must be a positive number, got {self.exposure!r}")
        if self.number_of_samples is not None and not self.number_of_samples >= 0:
            raise ValueError(f"number_of_samples of {self.key!r} cannot be negative, got {self.number_of_samples}")

    @property
    def persons(self) -> float:
        return self.exposure if self.number_of_samples is None else self.number_of_samples


@dataclass(frozen=True)
class Covariate:
    """A second value of the same samples from before their exposure: its sums, and that of products with the first.

    Missing values are 0 and count as samples.
    """

    sum: Sum
    sum_squares: Sum
    sum_product: Sum


@dataclass(frozen=True)
class MeanVariant:
    """A value per sample: the number of samples, the sum of values and the sum of their squares."""

    key: str
    number_of_samples: int
    sum: Sum
    sum_squares: Sum
    covariate: Covariate | None = None

    def __post_init__(self) -> None:
        """Refuse sums that samples cannot have."""
        own = (self.number_of_samples, self.sum, self.sum_squares)
        _require_moments(self.key, "", *own)
        if self.covariate is not None:
            other = (self.covariate.sum, self.covariate.sum_squares)
            _require_moments(self.key, "covariate_", self.number_of_samples, *other)
            _require_product(self.key, "main_covariate_sum_product", own, other, self.covariate.sum_product)


@dataclass(frozen=True)
class RatioVariant:
    """The ratio of two values per sample, with the sums of both, of their squares and of their products."""

    key: str
    number_of_samples: int
    sum: Sum
    sum_squares: Sum
    denominator_sum: Sum
    denominator_sum_squares: Sum
    numerator_denominator_sum_product: Sum

    def __post_init__(self) -> None:
        """Refuse sums that samples cannot have."""
        _require_moments(self.key, "", self.number_of_samples, self.sum, self.sum_squares)
        _require_moments(
            self.key, "denominator_", self.number_of_samples, self.denominator_sum, self.denominator_sum_squares
        )
        if self.denominator_sum < 0:
            raise ValueError(f"denominator_sum of {self.key!r} cannot be negative, got {self.denominator_sum}")
        _require_product(
            self.key,
            "numerator_denominator_sum_product",
            (self.number_of_samples, self.sum, self.sum_squares),
            (self.denominator_sum, self.denominator_sum_squares),
            self.numerator_denominator_sum_product,
        )


MetricVariant: TypeAlias = FunnelVariant | CountVariant | MeanVariant | RatioVariant


def _require_moments(key: str, prefix: str, n: int, total: Sum, squares: Sum) -> None:
    if n < 0:
        raise ValueError(f"number_of_samples of {key!r} cannot be negative, got {n}")
    for name, value in (("sum", total), ("sum_squares", squares)):
        if not math.isfinite(value):  # a fraction beyond the largest float raises OverflowError
            raise ValueError(f"{prefix}{name} of {key!r} must be a finite number, got {value!r}")
    if n == 0 and (total or squares):
        raise ValueError(f"{prefix}sum of {key!r} is not zero, but it has no samples")
    if n and Fraction(squares) * (1 + _ROUNDING) < Fraction(total) ** 2 / n:
        raise ValueError(f"{prefix}sum_squares of {key!r} is smaller than {prefix}sum squared / number_of_samples")


def _require_product(key: str, name: str, own: tuple[int, Sum, Sum], other: tuple[Sum, Sum], product: Sum) -> None:
    """Refuse a sum of products that violates the inequality of Cauchy and Schwarz."""
    if not math.isfinite(product):
        raise ValueError(f"{name} of {key!r} must be a finite number, got {product!r}")
    n, exact = own[0], Fraction(product)
    if n == 0:
        if exact:
            raise ValueError(f"{name} of {key!r} is not zero, but it has no samples")
        return
    first, second = (
        max(Fraction(squares) - Fraction(total) ** 2 / n, Fraction(0)) for total, squares in (own[1:], other)
    )
    slack = _ROUNDING * Fraction(own[2]) * Fraction(other[1])
    if (exact - Fraction(own[1]) * Fraction(other[0]) / n) ** 2 > first * second + slack:
        raise ValueError(f"{name} of {key!r} does not fit its sums")
