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
    """The number of independent events, and the exposure: persons or time at risk."""

    key: str
    count: int
    exposure: float

    def __post_init__(self) -> None:
        """Refuse negative counts and exposures that are not positive."""
        if self.count < 0:
            raise ValueError(f"count of {self.key!r} cannot be negative, got {self.count}")
        if not (math.isfinite(self.exposure) and self.exposure > 0):
            raise ValueError(f"exposure of {self.key!r} must be a positive number, got {self.exposure!r}")


@dataclass(frozen=True)
class MeanVariant:
    """A value per sample: the number of samples, the sum of values and the sum of their squares."""

    key: str
    number_of_samples: int
    sum: Sum
    sum_squares: Sum

    def __post_init__(self) -> None:
        """Refuse sums that samples cannot have."""
        _require_moments(self.key, "", self.number_of_samples, self.sum, self.sum_squares)


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
        n, product = self.number_of_samples, Fraction(self.numerator_denominator_sum_product)
        if n == 0:
            if product:
                raise ValueError(
                    f"numerator_denominator_sum_product of {self.key!r} is not zero, but it has no samples"
                )
            return
        own, other = Fraction(self.sum), Fraction(self.denominator_sum)
        spreads = [Fraction(self.sum_squares) - own**2 / n, Fraction(self.denominator_sum_squares) - other**2 / n]
        slack = _ROUNDING * Fraction(self.sum_squares) * Fraction(self.denominator_sum_squares)
        if (product - own * other / n) ** 2 > max(spreads[0], Fraction(0)) * max(
            spreads[1], Fraction(0)
        ) + slack:  # Cauchy and Schwarz
            raise ValueError(f"numerator_denominator_sum_product of {self.key!r} does not fit its sums")


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
