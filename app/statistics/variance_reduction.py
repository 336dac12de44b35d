r"""Variance reduction by a covariate from before the exposure (CUPED).

With :math:`\theta = \operatorname{Cov}(Y, X) / \operatorname{Var}(X)`, both pooled over all variants, a variant's mean
is adjusted to :math:`\bar Y - \theta (\bar X - \bar X_{all})` and the variance of a sample to
:math:`s_Y^2 + \theta^2 s_X^2 - 2 \theta s_{YX}`. The assignment does not change X, so the expected difference of two
variants stays what it was; centering X keeps the level of the means. One theta over all variants gives the baseline one
adjusted mean, whichever variant it is compared with.

References
----------
A. Deng, Y. Xu, R. Kohavi and T. Walker, *Improving the sensitivity of online controlled experiments by utilizing
pre-experiment data*, WSDM 2013.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from app.statistics.numerics.exact_numbers import to_float
from app.statistics.variants import MeanVariant

# A covariate that varies by less than this share of its square does not vary: sums of floats leave as much.
_NO_VARIATION = Fraction(1, 10**12)
_ZERO = Fraction(0)


@dataclass(frozen=True)
class Adjusted:
    """A variant's adjusted mean, the variances of one sample after and before, exact, and the factor theta."""

    mean: Fraction
    variance: Fraction
    unadjusted_variance: Fraction
    theta: Fraction


def adjust_means(variants: Sequence[MeanVariant]) -> list[Adjusted | None]:
    """Adjust the means of variants by their covariates; None for a variant of fewer than two samples.

    Raises
    ------
    ValueError
        When only some of the variants have a covariate.
    """
    covariates = [one.covariate for one in variants]
    if any(covariate is None for covariate in covariates):
        raise ValueError("either all variants have a covariate, or none has")
    count = sum(one.number_of_samples for one in variants)
    if count == 0:
        return [None] * len(variants)
    total = sum((Fraction(one.sum) for one in variants), _ZERO)
    total_x = sum((Fraction(one.sum) for one in covariates if one), _ZERO)
    squares_x = sum((Fraction(one.sum_squares) for one in covariates if one), _ZERO)
    products = sum((Fraction(one.sum_product) for one in covariates if one), _ZERO)
    spread_x = squares_x - total_x**2 / count
    varies = spread_x > _NO_VARIATION * squares_x
    # Rounded to a float, because exact arithmetic would carry ever longer fractions along.
    slope = to_float((products - total * total_x / count) / spread_x) if varies else 0.0
    theta = Fraction(slope) if math.isfinite(slope) else _ZERO
    return [_adjusted(one, theta, total_x / count) for one in variants]


def _adjusted(variant: MeanVariant, theta: Fraction, center: Fraction) -> Adjusted | None:
    n, covariate = variant.number_of_samples, variant.covariate
    if n < 2 or covariate is None:
        return None
    mean, mean_x = Fraction(variant.sum) / n, Fraction(covariate.sum) / n
    spread = max(Fraction(variant.sum_squares) - n * mean**2, _ZERO)
    spread_x = max(Fraction(covariate.sum_squares) - n * mean_x**2, _ZERO)
    product = Fraction(covariate.sum_product) - n * mean * mean_x
    adjusted = max(spread + theta**2 * spread_x - 2 * theta * product, _ZERO)
    return Adjusted(mean - theta * (mean_x - center), adjusted / (n - 1), spread / (n - 1), theta)
