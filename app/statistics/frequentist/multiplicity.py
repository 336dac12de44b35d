"""Correction of p-values for multiple comparisons."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

Correction: TypeAlias = Literal["none", "holm", "benjamini_hochberg"]


def adjust(p_values: Sequence[float], correction: Correction) -> list[float]:
    """Return adjusted p-values, in the order given; a comparison is significant when its adjusted value is below alpha.

    Holm's method controls the probability of any false discovery (family-wise error rate), that of Benjamini and
    Hochberg the expected share of false ones among all discoveries (false discovery rate).

    References
    ----------
    S. Holm, *A simple sequentially rejective multiple test procedure*, Scandinavian Journal of Statistics 6 (1979).
    Y. Benjamini and Y. Hochberg, *Controlling the false discovery rate*, JRSS B 57 (1995).
    """
    if correction == "none" or not p_values:
        return list(p_values)
    values = np.array(p_values, dtype=np.float64)
    count = len(values)
    order = np.argsort(values, kind="stable")
    if correction == "holm":
        sorted_values = np.maximum.accumulate(values[order] * np.arange(count, 0, -1))
    else:
        scaled = values[order] * count / np.arange(1, count + 1)
        sorted_values = np.minimum.accumulate(scaled[::-1])[::-1]
    adjusted = np.empty(count)
    adjusted[order] = np.minimum(sorted_values, 1.0)
    return adjusted.tolist()
