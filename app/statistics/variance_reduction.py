r"""Variance reduction by a covariate from before the exposure (CUPED).

With :math:`\theta = \operatorname{Cov}(Y, X) / \operatorname{Var}(X)`, both pooled over all variants, a variant's mean
is adjusted to :math:`\bar Y - \theta (\bar X - \bar X_{all})` and the variance of a sample to
:math:`s_Y^2 + \theta^2 s_X^2 - 2 \theta s_{YX}`. The assignment does not change X, so the expected difference of two
variants stays what it was; centering X keeps the level of the means. One theta over all variants gives the baseline one
adjusted mean, whichever variant it is compared with.

A ratio :math:`R = \bar Y / \bar D` is adjusted by the same ratio :math:`R_X = \bar X / \bar E` of before. By the delta
method, a sample contributes :math:`(Y - R D) / \bar D` to the one and :math:`(X - R_X E) / \bar E` to the other: their
variances and covariance take the place of those of Y and X. A mean is the ratio whose denominators are all 1.

References
----------
A. Deng, Y. Xu, R. Kohavi and T. Walker, *Improving the sensitivity of online controlled experiments by utilizing
pre-experiment data*, WSDM 2013; for ratios appendix B.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from app.statistics.numerics.exact_numbers import to_float
from app.statistics.variants import Covariate, MeanVariant, RatioCovariate, RatioVariant, Sum

# A covariate that varies by less than this share of its square does not vary: sums of floats leave as much.
_NO_VARIATION = Fraction(1, 10**12)
_ZERO = Fraction(0)

AdjustableVariant: TypeAlias = MeanVariant | RatioVariant


@dataclass(frozen=True)
class Adjusted:
    """A variant's adjusted mean, the variances of one sample after and before, exact, and the factor theta."""

    mean: Fraction
    variance: Fraction
    unadjusted_variance: Fraction
    theta: Fraction


def adjust_means(variants: Sequence[AdjustableVariant]) -> list[Adjusted | None]:
    """Adjust the means or ratios of variants by their covariates; None for a variant that has no variance.

    It has none with fewer than two samples, and as a ratio whose denominators are all 0. Nothing is adjusted by ratios
    of which one is undefined: theta is 0.

    Raises
    ------
    ValueError
        When only some of the variants have a covariate.
    """
    sums = [_sums_of(one) for one in variants if one.covariate is not None]
    if len(sums) < len(variants):
        raise ValueError("either all variants have a covariate, or none has")
    pooled = _Sums(*(sum(column, _ZERO) for column in zip(*(one.columns for one in sums), strict=True)))
    theta, center = _ZERO, _ZERO
    if pooled.has_ratios and all(one.covariate_denominator for one in sums if one.count >= _LEAST_SAMPLES):
        spread = pooled.covariate_spread
        if spread > _NO_VARIATION * pooled.covariate_squares / pooled.mean_covariate_denominator**2:
            # Rounded to a float, because exact arithmetic would carry ever longer fractions along.
            slope = to_float(pooled.product / spread)
            theta = Fraction(slope) if math.isfinite(slope) else _ZERO
        center = pooled.covariate_ratio
    return [one.adjusted(theta, center) for one in sums]


_LEAST_SAMPLES = 2


@dataclass(frozen=True)
class _Sums:
    """The sums of a numerator, a denominator and those of the covariate, of their squares and products, exact."""

    count: Fraction
    numerator: Fraction
    denominator: Fraction
    covariate: Fraction
    covariate_denominator: Fraction
    squares: Fraction
    denominator_squares: Fraction
    own_product: Fraction  # numerator and denominator
    covariate_squares: Fraction
    covariate_denominator_squares: Fraction
    covariate_own_product: Fraction
    numerators: Fraction  # numerator and covariate
    numerator_with_denominator: Fraction  # numerator and the covariate's denominator
    denominator_with_numerator: Fraction
    denominators: Fraction

    @property
    def columns(self) -> tuple[Fraction, ...]:
        return tuple(self.__dict__.values())

    @property
    def has_ratios(self) -> bool:
        return bool(self.denominator and self.covariate_denominator)

    @property
    def ratio(self) -> Fraction:
        return self.numerator / self.denominator

    @property
    def covariate_ratio(self) -> Fraction:
        return self.covariate / self.covariate_denominator

    @property
    def mean_denominator(self) -> Fraction:
        return self.denominator / self.count

    @property
    def mean_covariate_denominator(self) -> Fraction:
        return self.covariate_denominator / self.count

    @property
    def spread(self) -> Fraction:
        """The sum of the squares of what samples contribute to the ratio."""
        r = self.ratio
        found = self.squares - 2 * r * self.own_product + r**2 * self.denominator_squares
        return max(found, _ZERO) / self.mean_denominator**2

    @property
    def covariate_spread(self) -> Fraction:
        r = self.covariate_ratio
        found = self.covariate_squares - 2 * r * self.covariate_own_product + r**2 * self.covariate_denominator_squares
        return max(found, _ZERO) / self.mean_covariate_denominator**2

    @property
    def product(self) -> Fraction:
        """The sum of the products of what samples contribute to both ratios."""
        r, other = self.ratio, self.covariate_ratio
        crossed = other * self.numerator_with_denominator + r * self.denominator_with_numerator
        found = self.numerators - crossed + r * other * self.denominators
        return found / self.mean_denominator / self.mean_covariate_denominator

    def adjusted(self, theta: Fraction, center: Fraction) -> Adjusted | None:
        if self.count < _LEAST_SAMPLES or not self.denominator:
            return None
        mean, adjusted = self.ratio, self.spread
        if theta:
            mean -= theta * (self.covariate_ratio - center)
            adjusted = max(adjusted + theta**2 * self.covariate_spread - 2 * theta * self.product, _ZERO)
        return Adjusted(mean, adjusted / (self.count - 1), self.spread / (self.count - 1), theta)


def _sums_of(variant: AdjustableVariant) -> _Sums:
    n = variant.number_of_samples
    match variant:
        case RatioVariant(covariate=RatioCovariate() as other):
            sums: list[Sum] = [
                *(n, variant.sum, variant.denominator_sum, other.sum, other.denominator_sum),
                *(variant.sum_squares, variant.denominator_sum_squares, variant.numerator_denominator_sum_product),
                *(other.sum_squares, other.denominator_sum_squares, other.numerator_denominator_sum_product),
                *(other.main_product, other.main_denominator_product),
                *(other.denominator_product, other.denominators_product),
            ]
        case MeanVariant(covariate=Covariate() as other):
            sums = [
                *(n, variant.sum, n, other.sum, n),
                *(variant.sum_squares, n, variant.sum),
                *(other.sum_squares, n, other.sum),
                *(other.sum_product, variant.sum, other.sum, n),
            ]
        case _:
            raise ValueError(f"{variant.key!r} has no covariate")
    return _Sums(*(Fraction(one) for one in sums))
