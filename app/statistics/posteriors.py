"""Posterior distributions of rates and means."""

import math
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class BetaPosterior:
    """Beta(alpha, beta): a conversion rate after successes and failures."""

    alpha: float
    beta: float

    def __post_init__(self) -> None:
        """Refuse parameters that do not define a distribution."""
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
        """Refuse parameters that do not define a distribution."""
        _require_positive(shape=self.shape, rate=self.rate)

    @classmethod
    def from_counts(cls, count: float, exposure: float) -> "GammaPosterior":
        """Return the posterior under a flat prior on the rate: Gamma(count + 1, exposure)."""
        return cls(count + 1, exposure)

    @property
    def mean(self) -> float:
        return self.shape / self.rate


@dataclass(frozen=True)
class NormalPosterior:
    """Normal(mean, deviation): a mean of many samples, with its standard error."""

    mean: float
    deviation: float

    def __post_init__(self) -> None:
        """Refuse parameters that do not define a distribution."""
        _require_positive(deviation=self.deviation)
        if not math.isfinite(self.mean):
            raise ValueError(f"mean must be a finite number, got {self.mean!r}")


Posterior: TypeAlias = BetaPosterior | GammaPosterior | NormalPosterior


def _require_positive(**parameters: float) -> None:
    for name, value in parameters.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a positive number, got {value!r}")
