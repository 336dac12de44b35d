"""Relative uplift: how much better a variant is than control, as a ratio."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from app.statistics.intervals import quantiles
from app.statistics.kernel import Array, BetaKernel, log_ratio
from app.statistics.posterior import BetaPosterior, GammaPosterior, Posterior
from app.statistics.quadrature import gauss_legendre, panel_edges
from app.statistics.tails import beta_tails

_NODES = 16
_STEPS = 80
_CLOSE = 1e-9  # in standard deviations: Newton's next step would be its square
_STANDARD_NORMAL = NormalDist()


@dataclass(frozen=True)
class Uplift:
    """The distribution of X / X_control - 1.

    ``mean`` is None where it is infinite: control has so few successes or events that its rate may be zero.
    """

    mean: float | None
    median: float
    interval: tuple[float, float]
    probability_positive: float


def relative_uplift(variant: Posterior, control: Posterior, level: float = 0.95) -> Uplift:
    """Return mean, median and equal-tailed interval of the relative uplift of a variant over control.

    Quantiles are exact to about 1e-10 of the ratio: they are those of the ratio's own distribution, no normal one.

    Raises
    ------
    ValueError
        When ``level`` is not between 0 and 1, or the two are of different families.
    """
    if not 0 < level < 1:
        raise ValueError(f"a level lies between 0 and 1, got {level!r}")
    low, median, high = (uplift_quantile(variant, control, q) for q in ((1 - level) / 2, 0.5, (1 + level) / 2))
    return Uplift(_mean(variant, control), median, (low, high), probability_above(variant, control, 0.0))


def probability_above(variant: Posterior, control: Posterior, uplift: float) -> float:
    """Return the probability that the relative uplift is larger than ``uplift`` (more than -1)."""
    if not uplift > -1:
        raise ValueError(f"no rate falls by more than all: uplift must be above -1, got {uplift!r}")
    return _above(variant, control, math.log1p(uplift))[0]


def uplift_quantile(variant: Posterior, control: Posterior, probability: float) -> float:
    """Return a quantile of the relative uplift."""
    if isinstance(variant, GammaPosterior) and isinstance(control, GammaPosterior):
        return _gamma_quantile(variant, control, probability)
    return _beta_quantile(variant, control, probability)


def _mean(variant: Posterior, control: Posterior) -> float | None:
    r"""Return E[X] E[1/X_control] - 1, by the closed form of the mean of 1/X."""
    if isinstance(control, BetaPosterior):
        if control.alpha <= 1:
            return None
        return variant.mean * (control.alpha + control.beta - 1) / (control.alpha - 1) - 1
    return None if control.shape <= 1 else variant.mean * control.rate / (control.shape - 1) - 1


def _gamma_quantile(variant: GammaPosterior, control: GammaPosterior, probability: float) -> float:
    """The share of a Gamma variable in the sum with another is a Beta variable; the ratio of rates is its odds."""
    [[share]] = quantiles([BetaPosterior(variant.shape, control.shape)], [probability])
    [[other_share]] = quantiles([BetaPosterior(control.shape, variant.shape)], [1 - probability])
    return float(share / other_share * control.rate / variant.rate) - 1


def _beta_quantile(variant: Posterior, control: Posterior, probability: float) -> float:
    """Find the quantile on the scale of normal scores, where the distribution function is nearly a straight line.

    Newton's method inside a bracket that shrinks at every step.
    """
    target = _STANDARD_NORMAL.inv_cdf(probability)
    scale = math.sqrt(sum(_log_variance(posterior) for posterior in (variant, control)))
    rho = math.log(variant.mean / control.mean) + target * scale
    low, high = -math.inf, math.inf
    for _ in range(_STEPS):
        above, density = _above(variant, control, rho)
        low, high = (rho, high) if 1 - above < probability else (low, rho)
        step = _score_step(above, density, target)
        proposed = rho + step if step is not None else math.nan
        if not low <= proposed <= high:
            proposed = _inside(low, high, rho, scale)
        moved, rho = abs(proposed - rho), proposed
        if moved <= _CLOSE * scale:
            break
    return math.expm1(rho)


def _score_step(above: float, density: float, target: float) -> float | None:
    """Return Newton's step on normal scores; None where the score cannot be told."""
    if not 1e-15 < above < 1 - 1e-15 or density <= 0:
        return None
    score = -_STANDARD_NORMAL.inv_cdf(above)
    return (target - score) * _STANDARD_NORMAL.pdf(score) / density


def _inside(low: float, high: float, rho: float, scale: float) -> float:
    """Return the middle of the bracket; where one side is still open, a step beyond."""
    if math.isinf(low):
        return rho - 2 * scale
    if math.isinf(high):
        return rho + 2 * scale
    return (low + high) / 2


def _log_variance(posterior: Posterior) -> float:
    """Return the approximate variance of log X."""
    if isinstance(posterior, BetaPosterior):
        return posterior.beta / posterior.alpha / (posterior.alpha + posterior.beta)
    return 1 / posterior.shape


def _above(variant: Posterior, control: Posterior, rho: float) -> tuple[float, float]:
    """Return P(log X - log X_control > rho), and the density of that difference at rho."""
    if isinstance(variant, BetaPosterior) and isinstance(control, BetaPosterior):
        return _beta_above(variant, control, rho)
    if isinstance(variant, GammaPosterior) and isinstance(control, GammaPosterior):
        odds = math.exp(rho) * variant.rate / control.rate
        return beta_tails(BetaPosterior(variant.shape, control.shape), odds)[1], 0.0
    raise ValueError(f"need posteriors of one family, got {variant!r} and {control!r}")


def _beta_above(variant: BetaPosterior, control: BetaPosterior, rho: float) -> tuple[float, float]:
    """Integrate over the variable that is multiplied by a number below 1, so that the product never passes 1."""
    if rho <= 0:
        below, density = _share_below(control, variant, rho)
        return 1 - below, density
    return _share_below(variant, control, -rho)


def _share_below(outer: BetaPosterior, inner: BetaPosterior, log_m: float) -> tuple[float, float]:
    r"""Return P(inner <= m * outer) for m <= 1, and its derivative by log m.

    :math:`\int f_{outer}(x) F_{inner}(m x) dx` over panels that suit both: the outer variable's own, and those of the
    inner one carried over to the outer one's axis.
    """
    kernel, other = BetaKernel([outer]), BetaKernel([inner])
    edges = panel_edges(kernel)[0]
    carried = _carry(other, kernel, panel_edges(other)[0], -log_m)
    edges = np.unique(np.concatenate((edges, carried[(carried > edges[0]) & (carried < edges[-1])])))
    rule = gauss_legendre(_NODES)
    half = np.diff(edges) / 2
    nodes = ((edges[:-1] + half)[:, None] + half[:, None] * rule.nodes).ravel()
    weights = (half[:, None] * rule.weights).ravel()
    mass = np.exp(kernel.log_density(nodes[None])[0]) / kernel.mass[0] * weights
    inner_u = _carry(kernel, other, nodes, log_m)
    cdf, density = _distribution(other, inner_u)
    odds = other.alpha[0] / other.beta[0] * np.exp(np.minimum(inner_u, 700.0))
    return float(np.clip(mass @ cdf, 0.0, 1.0)), float(mass @ (density * (1 + odds)))


def _carry(source: BetaKernel, target: BetaKernel, u: Array, log_m: float) -> Array:
    """Return where m * x lies on the target's axis, for x on the source's; points with m * x >= 1 are left out."""
    log_x = np.log(source.value(u[None])[0])
    complement = 1 / (1 + source.alpha[0] / source.beta[0] * np.exp(u))
    beyond = -math.expm1(log_m) + math.exp(log_m) * complement  # 1 - m x, without cancellation
    kept = beyond > 0
    logit = log_x[kept] + log_m - np.log(beyond[kept])
    return np.asarray(logit - log_ratio(target.alpha, target.beta))


def _distribution(kernel: BetaKernel, u: Array) -> tuple[Array, Array]:
    """Return the distribution function at points and the density per unit of the axis."""
    edges = panel_edges(kernel)[0]
    rule = gauss_legendre(_NODES)
    half = np.diff(edges) / 2
    panel_nodes = (edges[:-1] + half)[:, None] + half[:, None] * rule.nodes
    masses = (np.exp(kernel.log_density(panel_nodes[None])[0]) @ rule.weights) * half
    below = np.concatenate(([0.0], np.cumsum(masses)))
    inside = np.clip(u, edges[0], edges[-1])
    panel = np.clip(np.searchsorted(edges, inside, side="right") - 1, 0, len(half) - 1)
    part = (inside - edges[panel]) / 2
    nodes = (edges[panel] + part)[:, None] + part[:, None] * rule.nodes
    rest = (np.exp(kernel.log_density(nodes[None])[0]) @ rule.weights) * part
    is_inside = (u > edges[0]) & (u < edges[-1])
    density = np.where(is_inside, np.exp(kernel.log_density(inside[None])[0]), 0.0)
    return (below[panel] + rest) / kernel.mass[0], density / kernel.mass[0]
