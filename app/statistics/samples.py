"""What a variant's counts say about its mean: the estimate, its variance, and the posterior, whatever the metric."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from app.statistics.funnel import FunnelVariant
from app.statistics.posterior import BetaPosterior, GammaPosterior, NormalPosterior, Posterior

# Sums that are floating-point numbers carry their own rounding: a variance below zero by less than this is zero.
_ROUNDING = Fraction(1, 10**9)


@dataclass(frozen=True)
class CountVariant:
    """Independent events, and how many persons (or how much time) they could happen to."""

    key: str
    count: int
    exposure: float

    def __post_init__(self) -> None:
        """Refuse counts and exposures that nothing has."""
        if self.count < 0:
            raise ValueError(f"count of {self.key!r} cannot be negative, got {self.count}")
        if not (math.isfinite(self.exposure) and self.exposure > 0):
            raise ValueError(f"exposure of {self.key!r} must be a positive number, got {self.exposure!r}")


@dataclass(frozen=True)
class MeanVariant:
    """An amount per sample: how many samples, the sum of their amounts and of the amounts' squares."""

    key: str
    number_of_samples: int
    sum: float
    sum_squares: float

    def __post_init__(self) -> None:
        """Refuse sums that no samples have."""
        _require_moments(self.key, "", self.number_of_samples, self.sum, self.sum_squares)


@dataclass(frozen=True)
class RatioVariant:
    """The quotient of two amounts per sample, with sums of both, of their squares and of their products."""

    key: str
    number_of_samples: int
    sum: float
    sum_squares: float
    denominator_sum: float
    denominator_sum_squares: float
    numerator_denominator_sum_product: float

    def __post_init__(self) -> None:
        """Refuse sums that no samples have."""
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


@dataclass(frozen=True)
class Sample:
    """A variant as every metric sees it.

    ``mean`` is None without data. ``variance`` is that of the mean, None where it cannot be told (fewer than two
    samples). ``degrees`` of freedom of the variance are infinite where it follows from the mean. ``posterior`` is None
    where data leave it undefined: without any variance, a mean has no distribution.
    """

    key: str
    number_of_samples: float
    sum: float
    sum_squares: float
    mean: float | None
    variance: float | None
    degrees: float
    posterior: Posterior | None


def sample_of(variant: MetricVariant) -> Sample:
    """Return mean, variance and posterior of a variant.

    Rates of conversion have the posterior Beta(successes + 1, failures + 1), counts Gamma(count + 1, exposure). Means
    and ratios have a normal one around the observed mean with its standard error, that of a ratio by the delta method:
    it is what the central limit theorem promises for the many samples that experiments have.
    """
    if isinstance(variant, FunnelVariant):
        return _conversions(variant)
    if isinstance(variant, CountVariant):
        return _events(variant)
    return _amounts(variant)


def _conversions(variant: FunnelVariant) -> Sample:
    n, successes = variant.total, variant.success_count
    return Sample(
        key=variant.key,
        number_of_samples=n,
        sum=successes,
        sum_squares=successes,
        mean=successes / n if n else None,
        variance=successes / n * (variant.failure_count / n) / n if n else None,
        degrees=math.inf,
        posterior=BetaPosterior.from_counts(successes, variant.failure_count),
    )


def _events(variant: CountVariant) -> Sample:
    rate = variant.count / variant.exposure
    return Sample(
        key=variant.key,
        number_of_samples=variant.exposure,
        sum=variant.count,
        sum_squares=variant.count,
        mean=rate,
        variance=rate / variant.exposure,
        degrees=math.inf,
        posterior=GammaPosterior.from_counts(variant.count, variant.exposure),
    )


def _amounts(variant: MeanVariant | RatioVariant) -> Sample:
    mean, variance = _ratio(variant) if isinstance(variant, RatioVariant) else _mean(variant)
    posterior = None
    if mean is not None and variance is not None and math.isfinite(mean) and 0 < variance < math.inf:
        posterior = NormalPosterior(mean, math.sqrt(variance))
    return Sample(
        key=variant.key,
        number_of_samples=variant.number_of_samples,
        sum=variant.sum,
        sum_squares=variant.sum_squares,
        mean=mean,
        variance=variance,
        degrees=variant.number_of_samples - 1,
        posterior=posterior,
    )


def _mean(variant: MeanVariant) -> tuple[float | None, float | None]:
    n = variant.number_of_samples
    if n == 0:
        return None, None
    if n == 1:
        return float(variant.sum), None
    spread = Fraction(variant.sum_squares) - Fraction(variant.sum) ** 2 / n
    return variant.sum / n, _to_float(max(spread, Fraction(0)) / (n - 1) / n)


def _ratio(variant: RatioVariant) -> tuple[float | None, float | None]:
    r"""Return the quotient and its variance, :math:`E[(Y - R X)^2] / (n \bar x^2)`: the delta method."""
    n, denominator = variant.number_of_samples, Fraction(variant.denominator_sum)
    if n == 0 or denominator == 0:
        return None, None
    quotient = Fraction(variant.sum) / denominator
    if n == 1:
        return _to_float(quotient), None
    # Residuals sum to zero, so that their squares need no correction for the mean.
    spread = (
        Fraction(variant.sum_squares)
        - 2 * quotient * Fraction(variant.numerator_denominator_sum_product)
        + quotient**2 * Fraction(variant.denominator_sum_squares)
    )
    return _to_float(quotient), _to_float(max(spread, Fraction(0)) / (n - 1) * n / denominator**2)


def _to_float(number: Fraction) -> float:
    """Return the nearest floating-point number; an infinite one beyond the largest."""
    try:
        return float(number)
    except OverflowError:
        return math.copysign(math.inf, number)


def _require_moments(key: str, prefix: str, n: int, total: float, squares: float) -> None:
    if n < 0:
        raise ValueError(f"number_of_samples of {key!r} cannot be negative, got {n}")
    for name, value in (("sum", total), ("sum_squares", squares)):
        if not math.isfinite(value):
            raise ValueError(f"{prefix}{name} of {key!r} must be a number, got {value!r}")
    if n == 0 and (total or squares):
        raise ValueError(f"{prefix}sum of {key!r} is not zero, but it has no samples")
    if n and Fraction(squares) * (1 + _ROUNDING) < Fraction(total) ** 2 / n:
        raise ValueError(f"{prefix}sum_squares of {key!r} is smaller than {prefix}sum squared / number_of_samples")
