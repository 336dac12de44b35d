"""Counts of one variant, by kind of metric. Impossible counts are refused."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias


@dataclass(frozen=True)
class FunnelVariant:
    """Persons of a variant that did and did not convert; the covariate is a value from before their exposure."""

    key: str
    success_count: int
    failure_count: int
    covariate: "Covariate | None" = None

    def __post_init__(self) -> None:
        """Refuse negative counts, and sums that samples cannot have."""
        for name, count in (("success_count", self.success_count), ("failure_count", self.failure_count)):
            if count < 0:
                raise ValueError(f"{name} of {self.key!r} cannot be negative, got {count}")
        if self.covariate is not None:
            self.as_mean()

    @property
    def total(self) -> int:
        return self.success_count + self.failure_count

    @property
    def rate(self) -> float:
        return self.success_count / self.total if self.total else 0.0

    def as_mean(self) -> "MeanVariant":
        """Return the conversions as values of 0 and 1, whose mean a covariate adjusts."""
        return MeanVariant(self.key, self.total, self.success_count, self.success_count, self.covariate)


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
class RatioCovariate:
    """The same ratio of the same samples from before their exposure.

    Its sums are those of ``RatioVariant``. ``main_product`` and ``main_denominator_product`` are the sums of the
    products of the variant's numerator with the covariate's numerator and denominator, ``denominator_product`` and
    ``denominators_product`` those of the variant's denominator.
    """

    sum: Sum
    sum_squares: Sum
    denominator_sum: Sum
    denominator_sum_squares: Sum
    numerator_denominator_sum_product: Sum
    main_product: Sum
    main_denominator_product: Sum
    denominator_product: Sum
    denominators_product: Sum


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
    covariate: RatioCovariate | None = None

    def __post_init__(self) -> None:
        """Refuse sums that samples cannot have."""
        denominators = (self.denominator_sum, self.denominator_sum_squares)
        values = {"": (self.sum, self.sum_squares), "denominator_": denominators}
        products = {"numerator_denominator_sum_product": ("", "denominator_", self.numerator_denominator_sum_product)}
        if (own := self.covariate) is not None:
            values["covariate_"] = (own.sum, own.sum_squares)
            values["covariate_denominator_"] = (own.denominator_sum, own.denominator_sum_squares)
            products |= {
                "covariate_numerator_denominator_sum_product": (
                    "covariate_",
                    "covariate_denominator_",
                    own.numerator_denominator_sum_product,
                ),
                "main_covariate_sum_product": ("", "covariate_", own.main_product),
                "main_covariate_denominator_sum_product": ("", "covariate_denominator_", own.main_denominator_product),
                "denominator_covariate_sum_product": ("denominator_", "covariate_", own.denominator_product),
                "denominator_covariate_denominator_sum_product": (
                    "denominator_",
                    "covariate_denominator_",
                    own.denominators_product,
                ),
            }
        for prefix, sums in values.items():
            _require_moments(self.key, prefix, self.number_of_samples, *sums)
            if prefix.endswith("denominator_") and sums[0] < 0:
                raise ValueError(f"{prefix}sum of {self.key!r} cannot be negative, got {sums[0]}")
        for name, (first, second, product) in products.items():
            _require_product(self.key, name, (self.number_of_samples, *values[first]), values[second], product)


@dataclass(frozen=True)
class QuantileVariant:
    """A quantile of the values of samples, and the order statistics between which it lies with a given confidence.

    ``value`` is None without values, ``lower`` and ``upper`` are with too few. Samples may have several values or none.
    """

    key: str
    number_of_samples: int
    number_of_values: int
    value: float | None
    lower: float | None
    upper: float | None
    confidence: float = 0.95

    def __post_init__(self) -> None:
        """Refuse order statistics that are out of order."""
        for name, count in (("number_of_samples", self.number_of_samples), ("number_of_values", self.number_of_values)):
            if count < 0:
                raise ValueError(f"{name} of {self.key!r} cannot be negative, got {count}")
        known = [one for one in (self.lower, self.value, self.upper) if one is not None]
        if not all(map(math.isfinite, known)):
            raise ValueError(f"the values of {self.key!r} must be finite numbers")
        if (self.lower is None) != (self.upper is None) or (self.value is None and self.lower is not None):
            raise ValueError(f"lower and upper of {self.key!r} go together, with a value between them")
        if known != sorted(known):
            raise ValueError(f"the value of {self.key!r} does not lie between lower and upper")

    @property
    def interval(self) -> tuple[float, float] | None:
        return None if self.lower is None or self.upper is None else (self.lower, self.upper)


MetricVariant: TypeAlias = FunnelVariant | CountVariant | MeanVariant | RatioVariant | QuantileVariant


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
