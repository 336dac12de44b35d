"""What could not be counted in the background: marked, and retried ever more rarely."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

ATTEMPTS: Final = 3
_FIRST_PAUSE: Final = 60.0
_LONGEST_PAUSE: Final = 3600.0


@dataclass(frozen=True)
class Failure:
    """A metric, or a verdict, that failed a number of times in a row."""

    metric_id: str
    detail: str
    times: int
    retry_at: float

    @property
    def is_given_up(self) -> bool:
        return self.times >= ATTEMPTS


class CountingFailures:
    """The failures of this process, by experiment and by what was tried: the digest of a fact query, say."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: dict[int, dict[str, Failure]] = {}

    def is_due(self, experiment_id: int, digest: str) -> bool:
        """Whether something is to be tried, or waits for its next attempt."""
        failure = self._failures.get(experiment_id, {}).get(digest)
        return failure is None or self._clock() >= failure.retry_at

    def note(self, experiment_id: int, metric_id: str, digest: str, detail: str) -> Failure:
        """Note that a metric failed once more, and return the failure. From the third on, pauses double."""
        known = self._failures.setdefault(experiment_id, {})
        times = known[digest].times + 1 if digest in known else 1
        pause = 0.0 if times < ATTEMPTS else min(_FIRST_PAUSE * 2.0 ** min(times - ATTEMPTS, 10), _LONGEST_PAUSE)
        known[digest] = Failure(metric_id, detail, times, self._clock() + pause)
        return known[digest]

    def forget(self, experiment_id: int, digest: str) -> None:
        """Forget the failures of a metric that was counted."""
        self._failures.get(experiment_id, {}).pop(digest, None)

    def keep_only(self, experiment_id: int, digests: Collection[str]) -> None:
        """Forget the failures of metrics that an experiment no longer has."""
        known = self._failures.get(experiment_id, {})
        for digest in known.keys() - set(digests):
            del known[digest]
        if not known:
            self._failures.pop(experiment_id, None)

    def given_up(self, experiment_id: int) -> Sequence[Failure]:
        """Return the metrics of an experiment that failed too often, one entry each."""
        failures = self._failures.get(experiment_id, {}).values()
        by_metric = {failure.metric_id: failure for failure in failures if failure.is_given_up}
        return list(by_metric.values())
