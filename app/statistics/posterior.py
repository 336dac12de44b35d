"""Posterior distributions of rates."""

import math
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class BetaPosterior:
    """Beta(alpha, beta): a conversion rate after successes and failures."""

    alpha: float
    beta: float

    def __post_init__(self) -> None:
        """Refuse parameters that are no distribution."""
        _require_positive(alpha=self.alpha, beta=self.beta)

    @classmethod
    def from_counts(cls, successes: float, failures: float) -> "BetaPosterior":
        """Return the posterior under the uniform prior Beta(1, 1)."""
        return cls(successes + 1, failures + 1)

    @property
    def mean(self) -> float:
        return self.alpha / (self.alpha + self.beta)


@dataclass(frozen=True)
class GammaPosterior:
    """Gamma(shape, rate): events per unit of exposure."""

    shape: float
    rate: float

    def __post_init__(self) -> None:
        """Refuse parameters that are no distribution."""
        _require_positive(shape=self.shape, rate=self.rate)

    @classmethod
    def from_counts(cls, count: float, exposure: float) -> "GammaPosterior":
        """Return the posterior under a flat prior on the rate: Gamma(count + 1, exposure)."""
        return cls(count + 1, exposure)

    @property
    def mean(self) -> float:
        return self.shape / self.rate


Posterior: TypeAlias = BetaPosterior | GammaPosterior


def _require_positive(**parameters: float) -> None:
    for name, value in parameters.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a positive number, got {value!r}")
