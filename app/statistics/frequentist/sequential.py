r"""Anytime-valid intervals and p-values, which allow repeated looks: an asymptotic confidence sequence.

With n samples in all, a standard error and :math:`K = n \rho^2 + 1`, the interval is the estimate plus and minus

.. math:: se \sqrt{\frac{2 K}{n \rho^2} \log \frac{\sqrt K}{\alpha}},
    \qquad \rho^2 = \frac{-2 \log \alpha + \log(1 - 2 \log \alpha)}{N^*},

which is narrowest, relative to that of a single look, near n = :math:`N^*`, the tuning parameter.

References
----------
I. Waudby-Smith, D. Arbour, R. Sinha, E. H. Kennedy and A. Ramdas, *Time-uniform central limit theory and asymptotic
confidence sequences*, Annals of Statistics 52 (2024), proposition 9.
"""

import math

DEFAULT_TUNING = 5000.0


def sequential_factor(samples: float, alpha: float, tuning: float = DEFAULT_TUNING, comparisons: int = 1) -> float:
    """Return the half width of the interval, in standard errors; infinite without samples.

    With several ``comparisons`` it is the distance at which the p-value is ``alpha`` divided by their number.
    """
    information = samples * _rho_squared(alpha, tuning)
    if information <= 0:
        return math.inf
    return math.sqrt(2 * (1 + 1 / information) * (math.log1p(information) / 2 - math.log(alpha / comparisons)))


def sequential_p_value(z: float, samples: float, alpha: float, tuning: float = DEFAULT_TUNING) -> float:
    """Return the anytime-valid p-value of an estimate that is ``z`` standard errors away from zero.

    It is below ``alpha`` exactly when the interval excludes zero. It is the reciprocal of the e-value, which by Ville's
    inequality bounds the probability that evidence ever gets as strong without an effect.
    """
    information = samples * _rho_squared(alpha, tuning)
    log_evidence = z * z * (information / (1 + information)) / 2 - math.log1p(information) / 2
    return math.exp(min(0.0, -log_evidence))


def _rho_squared(alpha: float, tuning: float) -> float:
    return (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / tuning
