"""Strict funnels: the steps follow each other without any other event of the actor in between.

Every event of the first step starts an attempt. Step i is the actor's i-th next event, or it is not reached.
"""

from collections.abc import Sequence

import numpy as np

from app.metrics.aggregation.funnel import NEVER, Actors, Attempts, ConversionWindow
from app.metrics.facts.columns import FactColumns


def strict_attempts(steps: Sequence[FactColumns], neighbors: FactColumns, window: ConversionWindow) -> Attempts:
    """Return the attempts of a strict funnel.

    Parameters
    ----------
    steps : sequence of FactColumns
        At least one. Their events are found among the neighbors by sequence number.
    neighbors : FactColumns
        All events of the actors inside the window, of any name: a series of one source without a name and a
        filter. Events at one moment follow each other in the order of arrival. The variants that they name count, too.
    """
    facts = neighbors.select(np.lexsort((neighbors.sequence, neighbors.time, neighbors.actor)))
    times = np.full((len(steps), len(facts)), NEVER, dtype=np.int64)
    for place, step in enumerate(steps):
        # The row ``place`` further on, if it is the same actor's and belongs to the step.
        count = max(len(facts) - place, 0)
        later = slice(place, place + count)
        fits = np.isin(facts.sequence[later], step.sequence) & (facts.actor[later] == facts.actor[:count])
        times[place, :count] = np.where(fits, facts.time[later], NEVER)
    starts = np.flatnonzero(times[0] != NEVER)
    times = times[:, starts]
    in_time = (times != NEVER) & (times <= window.ends(times[0]))
    actors = Actors.of(facts)
    return Attempts(actors, actors.number[starts], times, np.cumprod(in_time, axis=0).sum(axis=0), window)
