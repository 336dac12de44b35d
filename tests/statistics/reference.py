"""Posteriors in arbitrary precision, by their definitions: a slow, independent implementation."""

from collections.abc import Sequence
from functools import cache

from mpmath import beta, betainc, gammainc, mp, mpf, quad

from app.statistics.posteriors import BetaPosterior, GammaPosterior

Posterior = BetaPosterior | GammaPosterior

mp.dps = 20


def density(posterior: Posterior, x: mpf) -> mpf:
    if isinstance(posterior, BetaPosterior):
        a, b = mpf(posterior.alpha), mpf(posterior.beta)
        return x ** (a - 1) * (1 - x) ** (b - 1) / beta(a, b)
    a, rate = mpf(posterior.shape), mpf(posterior.rate)
    return mp.exp(a * mp.log(rate) + (a - 1) * mp.log(x) - rate * x - mp.loggamma(a))


@cache  # integrals of the same posteriors have the same nodes
def cdf(posterior: Posterior, x: mpf) -> mpf:
    if isinstance(posterior, BetaPosterior):
        return betainc(posterior.alpha, posterior.beta, 0, x, regularized=True)
    return gammainc(posterior.shape, 0, mpf(posterior.rate) * x, regularized=True)


def breakpoints(posteriors: Sequence[Posterior]) -> list[mpf]:
    """Return points around every posterior's bulk, for the integrator to start from."""
    points = {mpf(0)}
    for posterior in posteriors:
        mean = mpf(posterior.mean)
        if isinstance(posterior, BetaPosterior):
            deviation = mp.sqrt(mean * (1 - mean) / (posterior.alpha + posterior.beta + 1))
        else:
            deviation = mp.sqrt(posterior.shape) / posterior.rate
        points |= {mean + k * deviation for k in (-8, -4, -2, -1, 0, 1, 2, 4, 8, 16, 40)}
    if isinstance(posteriors[0], BetaPosterior):
        return [point for point in sorted(points) if 0 <= point < 1] + [mpf(1)]
    return [point for point in sorted(points) if point >= 0]


def win_probability(posteriors: Sequence[Posterior], index: int) -> mpf:
    def integrand(x: mpf) -> mpf:
        others = (cdf(other, x) for position, other in enumerate(posteriors) if position != index)
        return density(posteriors[index], x) * mp.fprod(others)

    return quad(integrand, breakpoints(posteriors))


def loss_against(chosen: Posterior, rivals: Sequence[Posterior]) -> mpf:
    """Return E[max(0, max(rivals) - chosen)]."""
    return quad(
        lambda x: cdf(chosen, x) * (1 - mp.fprod(cdf(rival, x) for rival in rivals)), breakpoints([chosen, *rivals])
    )


def beats(test: BetaPosterior, control: BetaPosterior) -> mpf:
    """Return P(test > control) for whole numbers of successes and failures, by the finite sum of E. Miller (2014)."""
    a, b = int(control.alpha), int(control.beta)
    c, d = int(test.alpha), int(test.beta)
    return mp.fsum(beta(a + i, b + d) / ((d + i) * beta(1 + i, d) * beta(a, b)) for i in range(c))
