r"""One axis for all variants, covered by few Gauss-Legendre panels on which every density is smooth.

Each variable brings 13 edges: its mode, and on both sides the points where its density has fallen by steps of a normal
curve's :math:`z^2/2` up to :math:`z = 9.2` (tail mass 1e-18). Edges of all variables are united and neighboring panels
are merged while that does not cost any variable accuracy. Densities are integrated from both sides by a spectral
integration matrix, so that distribution functions are known at the same nodes to machine precision.

References
----------
P. J. Davis and P. Rabinowitz, *Methods of Numerical Integration*, 2nd ed., 1984, section 2.7.
L. N. Trefethen, *Is Gauss Quadrature Better than Clenshaw-Curtis?*, SIAM Review 50, 2008.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.polynomial import chebyshev, legendre
from numpy.typing import NDArray

from app.statistics.numerics.log_densities import Array, Kernel

_DEEPEST = 9.2  # standard deviations of a normal curve
_GROWTH = 1.3  # a merged panel may be this much wider than the narrowest panel inside
_TOLERANCE = 1e-10


@dataclass(frozen=True)
class Rule:
    """A Gauss-Legendre rule on [-1, 1] with n nodes.

    ``integrals`` of shape (n, 2 n + 1) takes values at the nodes to the integrals of their interpolating polynomial
    from the left end to each node, from each node to the right end, and over the whole interval. ``chebyshev`` of shape
    (n, n) takes them to the polynomial's Chebyshev coefficients.
    """

    nodes: Array
    weights: Array
    integrals: Array
    chebyshev: Array


@cache
def gauss_legendre(count: int) -> Rule:
    """Return the rule with ``count`` nodes."""
    nodes, weights = legendre.leggauss(count)
    degrees = np.arange(count)
    # P_n at the nodes for n = 0 to count, and the integral of each from -1: (P_{n+1} - P_{n-1}) / (2 n + 1).
    polynomials = legendre.legvander(nodes, count)
    before = np.column_stack((-np.ones(count), polynomials[:, : count - 1]))
    primitives = (polynomials[:, 1:] - before) / (2 * degrees + 1)
    coefficients = (2 * degrees + 1)[:, None] / 2 * polynomials[:, :count].T * weights
    left = primitives @ coefficients
    right = left[::-1, ::-1]
    to_series = np.asarray(np.linalg.inv(chebyshev.chebvander(nodes, count - 1)).T, dtype=np.float64)
    return Rule(nodes, weights, np.column_stack((left.T, right.T, weights)), to_series)


class QuadratureError(ArithmeticError):
    """The integrals of densities deviate from their closed forms: the result would not be exact."""


@dataclass(frozen=True)
class SharedGrid:
    """Densities and distribution functions of k variables at n nodes in each of p panels of one axis.

    Attributes
    ----------
    edges : float64[p + 1]
        Ends of the panels, as distances from the first variable's mode.
    nodes, weights : float64[p, n]
        Nodes and weights of the integral over the axis.
    density, cdf, survival : float64[k, p, n]
        Normalized; ``survival`` is integrated from the right, not 1 - cdf, to be accurate where it is tiny.
    below : float64[k, p + 1]
        Distribution function at the edges.
    is_gap : bool[p]
        Panels in which all variables have zero mass.
    mass_error : float
        Largest relative difference between the integral of a density and its closed form: a check of everything.
    """

    kernel: Kernel
    rule: Rule
    edges: Array
    nodes: Array
    weights: Array
    density: Array
    cdf: Array
    survival: Array
    below: Array
    is_gap: NDArray[np.bool_]
    mass_error: float

    @classmethod
    def covering(cls, kernel: Kernel) -> "SharedGrid":
        """Build the grid; if its check fails, build a finer one.

        Raises
        ------
        QuadratureError
            When the finer grid fails the check too.
        """
        grid = cls._build(kernel, levels=6, node_count=16)
        if grid.mass_error > _TOLERANCE:
            grid = cls._build(kernel, levels=9, node_count=20)
        if not grid.mass_error <= _TOLERANCE:
            raise QuadratureError(f"densities integrate to 1 only within {grid.mass_error:.1e}")
        return grid

    @classmethod
    @np.errstate(divide="ignore", invalid="ignore")  # a variable whose nodes were rounded away: its mass shows it
    def _build(cls, kernel: Kernel, levels: int, node_count: int) -> "SharedGrid":
        rule = gauss_legendre(node_count)
        supports = panel_edges(kernel, levels)
        edges, is_active = _merge(supports + kernel.offset[:, None])
        # The nodes of a panel are placed relative to the mode of the narrowest variable in it: relative to the first
        # one's, those of a narrow variable far away would be rounded to that distance.
        anchor = kernel.offset[np.where(is_active, kernel.scale[:, None], np.inf).argmin(axis=0)]
        left, right = edges[:-1] - anchor, edges[1:] - anchor
        half = (right - left) / 2
        local = (left + half)[:, None] + half[:, None] * rule.nodes
        u = local + (anchor - kernel.offset[:, None])[:, :, None]
        u = np.clip(u, supports[:, :1, None], supports[:, -1:, None])
        density = np.exp(kernel.log_density(u)) * is_active[:, :, None]
        integrals = (density @ rule.integrals) * half[:, None]
        panel_mass = integrals[:, :, -1]
        mass = panel_mass.sum(axis=1)
        scale = (1 / mass)[:, None, None]
        count = len(rule.nodes)
        below = np.zeros((len(kernel), len(edges)))
        np.cumsum(panel_mass, axis=1, out=below[:, 1:])
        above = np.zeros((len(kernel), len(edges)))
        above[:, :-1] = np.cumsum(panel_mass[:, ::-1], axis=1)[:, ::-1]
        return cls(
            kernel=kernel,
            rule=rule,
            edges=edges,
            nodes=local + anchor[:, None],
            weights=half[:, None] * rule.weights,
            density=density * scale,
            cdf=np.clip((integrals[:, :, :count] + below[:, :-1, None]) * scale, 0.0, 1.0),
            survival=np.clip((integrals[:, :, count : 2 * count] + above[:, 1:, None]) * scale, 0.0, 1.0),
            below=below * (1 / mass)[:, None],
            is_gap=np.asarray(~is_active.any(axis=0)),
            mass_error=float(np.max(np.abs(mass / kernel.mass - 1))),
        )


def panel_edges(kernel: Kernel, levels: int = 6) -> Array:
    """Return each variable's panel edges relative to its mode, ascending, float64[k, 2 * levels + 1].

    They need not be precise: quadrature is correct for any edges, and needs few nodes for good ones.
    """
    z = _DEEPEST / levels * np.arange(1, levels + 1)
    sides = np.concatenate((-z[::-1], z))
    u = kernel.places(sides)
    for _ in range(2):
        u = u - (kernel.log_density(u) + sides**2 / 2) / kernel.slope(u)
    edges = np.zeros((len(kernel), 2 * levels + 1))
    edges[:, :levels] = u[:, :levels]
    edges[:, levels + 1 :] = u[:, levels:]
    return edges


def _merge(supports: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Unite the variables' edges and merge neighbors; return edges[p + 1] and which variables are active, [k, p]."""
    union = np.unique(supports)
    middles = (union[:-1] + union[1:]) / 2
    narrowest = np.full(len(middles), np.inf)
    for edges in supports:
        panel = np.searchsorted(edges, middles)
        inside = (panel > 0) & (panel < len(edges))
        widths = np.diff(edges)[panel[inside] - 1]
        narrowest[inside] = np.minimum(narrowest[inside], _GROWTH * widths)
    start = end = float(union[0])
    kept, limit = [start], np.inf
    for right, width in zip(union[1:].tolist(), narrowest.tolist(), strict=True):
        if end > start and right - start > min(limit, width):
            kept.append(end)
            start, limit = end, np.inf
        end, limit = right, min(limit, width)
    kept.append(end)
    merged = np.array(kept)
    middles = (merged[:-1] + merged[1:]) / 2
    is_active = (middles > supports[:, :1]) & (middles < supports[:, -1:])
    return merged, is_active
