r"""Log densities on an axis where posteriors are smooth, accurate for counts from 0 to 1e9 and beyond.

A Beta variable is transformed by :math:`t = \operatorname{logit} x`, a Gamma variable by :math:`t = \log x`, a normal
one not at all. All densities are log-concave and analytic there, for all counts. Everything is relative to the mode,
with :math:`u = t - t_{mode}`, so that large numbers are not subtracted from each other.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from app.statistics.posteriors import BetaPosterior, GammaPosterior, NormalPosterior, Posterior

Array = NDArray[np.float64]
Number = TypeVar("Number", np.float64, np.bool_)

# Below this |u| the power series is exact to rounding. It is needed only where counts are so large that the closed form
# would cancel, that is, for scales below the second number.
_SERIES_LIMIT = 0.03
_NARROW = _SERIES_LIMIT / 12


class Kernel(ABC):
    """The densities of k variables of one family, the first being the reference of the shared axis.

    Attributes
    ----------
    offset : float64[k]
        Mode of each variable, relative to the first one's.
    scale : float64[k]
        Standard deviation that the curvature at the mode suggests, on the axis.
    mass : float64[k]
        Integral of ``exp(log_density)`` over the axis, in closed form.
    center : float64[k]
        The variable at the mode: odds of a Beta variable, the value of others.
    """

    offset: Array
    scale: Array
    mass: Array
    center: Array

    def __len__(self) -> int:
        return len(self.offset)

    @abstractmethod
    def log_density(self, u: Array, rows: NDArray[np.intp] | slice = slice(None)) -> Array:
        """Return log f(u) - log f(0) for ``u`` of shape (rows, ...)."""

    def places(self, z: Array) -> Array:
        """Return starting points for Newton's method: where densities have fallen about as a normal one at ``z``."""
        u = z * self.scale[:, None]
        # Towards its steep side a density falls faster than a normal one: start nearer to the mode there.
        return np.sign(u) * np.log1p(np.abs(u) + u**2 / 3)

    @abstractmethod
    def slope(self, u: Array, rows: NDArray[np.intp] | slice = slice(None)) -> Array:
        """Return the derivative of ``log_density``."""

    @abstractmethod
    def value(self, u: Array, rows: NDArray[np.intp] | slice = slice(None)) -> Array:
        """Return the variable itself, x."""

    @abstractmethod
    def log_jacobian(self, u: Array, rows: NDArray[np.intp] | slice = slice(None)) -> Array:
        """Return log(dx/du), which transforms densities from the axis to the variable itself."""


# Beyond, exp(u) overflows in products, and 1 + exp(u) equals exp(u).
_LARGEST_EXPONENT = 700.0


def _exponent(u: Array) -> Array:
    return np.minimum(u, _LARGEST_EXPONENT)


class BetaKernel(Kernel):
    r"""Beta(a, b) on the logit axis: density proportional to :math:`x^a (1-x)^b`."""

    def __init__(self, posteriors: Sequence[BetaPosterior]) -> None:
        self.alpha = np.array([posterior.alpha for posterior in posteriors], dtype=np.float64)
        self.beta = np.array([posterior.beta for posterior in posteriors], dtype=np.float64)
        self.center = self.alpha / self.beta
        self._total = self.alpha + self.beta
        self._smaller = np.minimum(self.alpha, self.beta)
        self._share = self._smaller / self._total
        self._sign = np.where(self.alpha <= self.beta, 1.0, -1.0)
        self._series = _bernoulli_series(self._share, self._total)
        self.offset = log_ratio(self.alpha, self.alpha[0]) - log_ratio(self.beta, self.beta[0])
        self.scale = np.sqrt(1 / self.alpha + 1 / self.beta)
        self._is_narrow = self.scale < _NARROW
        self.mass = (
            self.scale
            * math.sqrt(2 * math.pi)
            * np.exp(stirling_remainder(self.alpha) + stirling_remainder(self.beta) - stirling_remainder(self._total))
        )

    def log_density(self, u: Array, rows: NDArray[np.intp] | slice = slice(None)) -> Array:
        v = u * _column(self._sign[rows], u)
        total, share, smaller = (_column(part[rows], u) for part in (self._total, self._share, self._smaller))
        return _choose(
            v,
            self._is_narrow[rows],
            lambda: _polynomial(self._series[rows], v),
            # Beyond the largest exponent the logarithm is linear.
            lambda: (
                smaller * v - total * (np.log1p(share * np.expm1(_exponent(v))) + np.maximum(v - _LARGEST_EXPONENT, 0))
            ),
        )

    def slope(self, u: Array, rows: NDArray[np.intp] | slice = slice(None)) -> Array:
        sign = _column(self._sign[rows], u)
        share, smaller = _column(self._share[rows], u), _column(self._smaller[rows], u)
        growth = np.expm1(_exponent(u * sign))
        return np.asarray(-sign * smaller * (1 - share) * growth / (1 + share * growth))

    def value(self, u: Array, rows: NDArray[np.intp] | slice = slice(None)) -> Array:
        odds_against = _column(self.beta[rows] / self.alpha[rows], u) * np.exp(_exponent(-u))
        return 1 / (1 + odds_against)

    def log_jacobian(self, u: Array, rows: NDArray[np.intp] | slice = slice(None)) -> Array:
        x = self.value(u, rows)
        return np.log(x) - np.log1p(_column(self.alpha[rows] / self.beta[rows], u) * np.exp(_exponent(u)))


class GammaKernel(Kernel):
    r"""Gamma(a, rate) on the log axis: density proportional to :math:`x^a e^{-rate x}`."""

    def __init__(self, posteriors: Sequence[GammaPosterior]) -> None:
        self.shape = np.array([posterior.shape for posterior in posteriors], dtype=np.float64)
        self.rate = np.array([posterior.rate for posterior in posteriors], dtype=np.float64)
        self.center = self.shape / self.rate
        self._series = -self.shape[:, None] / _FACTORIALS[2:10]
        self.offset = log_ratio(self.shape, self.shape[0]) - log_ratio(self.rate, self.rate[0])
        self.scale = 1 / np.sqrt(self.shape)
        self._is_narrow = self.scale < _NARROW
        self.mass = self.scale * math.sqrt(2 * math.pi) * np.exp(stirling_remainder(self.shape))

    def log_density(self, u: Array, rows: NDArray[np.intp] | slice = slice(None)) -> Array:
        return _choose(
            u,
            self._is_narrow[rows],
            lambda: _polynomial(self._series[rows], u),
            lambda: _column(self.shape[rows], u) * (u - np.expm1(u)),
        )

    def slope(self, u: Array, rows: NDArray[np.intp] | slice = slice(None)) -> Array:
        return -_column(self.shape[rows], u) * np.expm1(u)

    def value(self, u: Array, rows: NDArray[np.intp] | slice = slice(None)) -> Array:
        return _column(self.shape[rows] / self.rate[rows], u) * np.exp(u)

    def log_jacobian(self, u: Array, rows: NDArray[np.intp] | slice = slice(None)) -> Array:
        return np.log(self.value(u, rows))


class NormalKernel(Kernel):
    """Normal variables, whose axis is that of the values."""

    def __init__(self, posteriors: Sequence[NormalPosterior]) -> None:
        self.center = np.array([posterior.mean for posterior in posteriors], dtype=np.float64)
        self.scale = np.array([posterior.deviation for posterior in posteriors], dtype=np.float64)
        self.offset = self.center - self.center[0]
        self.mass = self.scale * math.sqrt(2 * math.pi)

    def places(self, z: Array) -> Array:
        return z * self.scale[:, None]

    def log_density(self, u: Array, rows: NDArray[np.intp] | slice = slice(None)) -> Array:
        return -((u / _column(self.scale[rows], u)) ** 2) / 2

    def slope(self, u: Array, rows: NDArray[np.intp] | slice = slice(None)) -> Array:
        return -u / _column(self.scale[rows], u) ** 2

    def value(self, u: Array, rows: NDArray[np.intp] | slice = slice(None)) -> Array:
        return _column(self.center[rows], u) + u

    def log_jacobian(self, u: Array, rows: NDArray[np.intp] | slice = slice(None)) -> Array:  # noqa: ARG002  # constant
        return np.zeros_like(u)


def kernel_of(posteriors: Sequence[Posterior]) -> Kernel:
    """Return the kernel of posteriors, which must be of one family.

    Raises
    ------
    ValueError
        When there are none, or families are mixed.
    """
    betas = [posterior for posterior in posteriors if isinstance(posterior, BetaPosterior)]
    gammas = [posterior for posterior in posteriors if isinstance(posterior, GammaPosterior)]
    normals = [posterior for posterior in posteriors if isinstance(posterior, NormalPosterior)]
    if len(betas) == len(posteriors) > 0:
        return BetaKernel(betas)
    if len(gammas) == len(posteriors) > 0:
        return GammaKernel(gammas)
    if len(normals) == len(posteriors) > 0:
        return NormalKernel(normals)
    raise ValueError(
        f"need posteriors of one family, got {len(betas)} Beta, {len(gammas)} Gamma and {len(normals)} normal"
    )


_FACTORIALS = np.array([math.factorial(n) for n in range(12)], dtype=np.float64)


def _column(values: NDArray[Number], like: Array) -> NDArray[Number]:
    """Give the values of the rows as many axes as ``like`` has."""
    return values.reshape(values.shape + (1,) * (like.ndim - 1))


def _choose(v: Array, is_narrow: NDArray[np.bool_], series: Callable[[], Array], exact: Callable[[], Array]) -> Array:
    """Evaluate the series, the closed form, or both where rows differ."""
    if not is_narrow.any():
        return exact()
    near = np.abs(v) < _SERIES_LIMIT
    if near.all():
        return series()
    return np.where(near & _column(is_narrow, v), series(), exact())


def _polynomial(coefficients: Array, v: Array) -> Array:
    """Evaluate the sum of ``c_k v^k`` from k = 2 on, by Horner's scheme."""
    result = np.zeros_like(v)
    for position in range(coefficients.shape[1] - 1, -1, -1):
        result = result * v + _column(coefficients[:, position], v)
    return result * v * v


def _bernoulli_series(p: Array, total: Array) -> Array:
    """Return coefficients of v^2 to v^8 in -total * K(v): K generates the cumulants of a Bernoulli variable."""
    q = 1 - p
    pq = p * q
    cumulants = (
        pq,
        pq * (q - p),
        pq * (1 - 6 * pq),
        pq * (q - p) * (1 - 12 * pq),
        pq * (1 - 30 * pq + 120 * pq**2),
        pq * (q - p) * (1 - 60 * pq + 360 * pq**2),
        pq * (1 - 126 * pq + 1680 * pq**2 - 5040 * pq**3),
    )
    return np.stack(
        [-total * cumulant / _FACTORIALS[order] for order, cumulant in enumerate(cumulants, start=2)], axis=1
    )


def log_ratio(numerator: Array | float, denominator: Array | float) -> Array:
    """Return log(numerator / denominator), to full relative accuracy even where the two are nearly equal."""
    numerator, denominator = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    ratio = numerator / denominator
    near = (ratio > 0.5) & (ratio < 2)
    difference = np.where(near, (numerator - denominator) / denominator, 0.0)
    return np.where(near, np.log1p(difference), np.log(ratio))


def stirling_remainder(x: Array) -> Array:
    r"""Return the remainder of Stirling's formula for :math:`\log\Gamma(x)`; from 12 on by its series (DLMF 5.11.1)."""
    x = np.asarray(x, dtype=np.float64)
    large = np.maximum(x, 12.0)
    square = 1 / large**2
    series = (
        1 / 12
        - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square * (1 / 1188 - square * 691 / 360360))))
    ) / large
    if bool((x >= 12).all()):
        return series
    small = np.minimum(x, 12.0)
    log_gamma = np.vectorize(math.lgamma, otypes=[np.float64])(small)
    direct = log_gamma - ((small - 0.5) * np.log(small) - small + 0.5 * math.log(2 * math.pi))
    return np.where(x >= 12, series, direct)
