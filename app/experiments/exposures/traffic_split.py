"""The traffic split of an experiment's flag: its phases while the experiment ran, and its whole history."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from app.activity_log.repository import ActivityQueries, Author
from app.common.timestamps import write_moment
from app.db.database import Database
from app.db.models import Experiment
from app.flags.filters import PLANNED_VARIANTS, JsonDict, groups_of, variant_keys, variants_of
from app.flags.holdouts import read_holdout

_BEGINNING = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_WHOLE = 100.0

_MOST_FORMER_VARIANTS = 100


@dataclass(frozen=True)
class SplitChange:
    """A change of the flag's variants while the experiment ran."""

    when: str
    who: str | None


@dataclass(frozen=True)
class Phase:
    """A time in which the shares of a flag's variants did not change. The first one of an experiment has no ``since``.

    ``shares`` are in percent, in the order of ``variant_keys``.
    """

    since: dt.datetime | None
    shares: Mapping[str, float]
    changed_by: str | None = None


@dataclass(frozen=True)
class TrafficSplit:
    """The phases of a flag's split while an experiment ran, oldest first; there is at least one.

    ``former_variants`` are those that the flag had since the experiment's start, or that the experiment planned, and
    that the flag has no longer.
    """

    phases: Sequence[Phase]
    former_variants: Sequence[str] = ()

    @property
    def shares(self) -> Mapping[str, float]:
        """The shares at the experiment's end, or now while it runs."""
        return self.phases[-1].shares

    @property
    def changes(self) -> Sequence[SplitChange]:
        return [SplitChange(write_moment(one.since), one.changed_by) for one in self.phases if one.since is not None]

    def predicted(self, variants: Sequence[str]) -> list[list[float]] | None:
        """Return the share of each variant among the exposed persons of each phase, from 0 to 1.

        A flag whose shares are all 0 assigns no variant: exposures of that phase are of earlier assignments, and follow
        the phase before. None where no phase has shares.
        """
        weights = [[max(phase.shares.get(key, 0.0), 0.0) for key in variants] for phase in self.phases]
        known = next((row for row in weights if any(row)), None)
        if known is None:
            return None
        shares = []
        for row in weights:
            known = row if any(row) else known
            whole = sum(known)
            shares.append([weight / whole for weight in known])
        return shares


@dataclass(frozen=True)
class Assignment:
    """How a flag assigns variants.

    Attributes
    ----------
    rollout_percentage : float or None
        Of the flag's release condition; None where it has several.
    holdout_percentage : float
        Of the persons who are held out before it.
    shares : mapping of str to float
        See ``Phase``.
    """

    rollout_percentage: float | None
    holdout_percentage: float
    shares: Mapping[str, float]

    @classmethod
    def of(cls, filters: JsonDict) -> Self:
        holdout = read_holdout(filters)
        return cls(_rollout(filters), 0.0 if holdout is None else holdout.percentage, shares_of(filters))


@dataclass(frozen=True)
class Distribution:
    """How a flag assigned variants from a moment on; without ``changed_by`` where that is not known any more."""

    effective_from: dt.datetime
    assignment: Assignment
    changed_by: Author | None


@dataclass(frozen=True)
class _Change:
    """A recorded change of a flag's filters; there is nothing ``before`` the flag was created."""

    at: dt.datetime
    by: Author | None
    before: Assignment | None
    after: Assignment


class TrafficSplitQueries:
    """Reads the traffic splits of one project's experiments.

    They come from the activity log: its entries are written in the transaction of the change itself, never changed,
    and never removed, also when the flag is deleted.
    """

    def __init__(self, database: Database, project_id: int) -> None:
        self._log = ActivityQueries(database, project_id)

    async def split(self, experiment: Experiment) -> TrafficSplit:
        """Return the split of an experiment that has started, in its phases from the start to the end."""
        start, end = experiment.start_date or _BEGINNING, experiment.end_date
        changes = await self._changes(experiment, start)
        within = [one for one in changes if end is None or one.at < end]
        later = [one.before for one in changes[len(within) :] if one.before is not None]
        last = later[0] if later else Assignment.of(experiment.feature_flag.filters)
        first = next((one.before for one in within if one.before is not None), last)
        phases = [
            Phase(one.at, one.after.shares, one.by.email if one.by else None)
            for one in within
            if one.before is not None and one.before.shares != one.after.shares
        ]
        return TrafficSplit([Phase(None, first.shares), *phases], _former_variants(experiment, changes))

    async def history(self, experiment: Experiment) -> Sequence[Distribution]:
        """Return how the flag assigned variants since its creation, oldest first.

        A flag that is older than the activity log begins with the oldest assignment that the log knows, or else with
        the present one.
        """
        flag, changes = experiment.feature_flag, await self._changes(experiment, _BEGINNING)
        distributions = [Distribution(one.at, one.after, one.by) for one in changes]
        if not changes or changes[0].before is not None:
            oldest = changes[0].before if changes else None
            distributions.insert(0, Distribution(flag.created_at, oldest or Assignment.of(flag.filters), None))
        return [one for last, one in pairwise([None, *distributions]) if one and (not last or _differ(last, one))]

    async def _changes(self, experiment: Experiment, since: dt.datetime) -> list[_Change]:
        """Return the changes of the flag's filters since a time, oldest first."""
        return [
            _Change(
                entry.created_at,
                entry.author,
                None if entry.activity == "created" else Assignment.of(_object(change["before"])),
                Assignment.of(_object(change["after"])),
            )
            async for entry in self._log.since("FeatureFlag", experiment.feature_flag_id, since)
            for change in entry.detail["changes"]
            if change["field"] == "filters"
        ]


def shares_of(filters: JsonDict) -> dict[str, float]:
    """Return the share of each variant of a flag, in percent, control first."""
    shares = {str(one.get("key")): one.get("rollout_percentage") for one in variants_of(filters)}
    numbers = {key: float(share) for key, share in shares.items() if isinstance(share, int | float)}
    return {key: numbers.get(key, 0.0) for key in variant_keys(filters)}


def shipped_variant(filters: JsonDict) -> str | None:
    """Return the variant that has the whole split to itself beside others that have none; None if there is none."""
    shares = shares_of(filters)
    whole = [key for key, share in shares.items() if share == _WHOLE]
    return whole[0] if len(shares) > 1 and len(whole) == 1 and sum(shares.values()) == _WHOLE else None


def _former_variants(experiment: Experiment, changes: Sequence[_Change]) -> list[str]:
    planned = experiment.parameters if isinstance(experiment.parameters, dict) else {}
    keys = dict.fromkeys(shares_of({"multivariate": {"variants": planned.get(PLANNED_VARIANTS)}}))
    for change in changes:
        keys |= dict.fromkeys([*(change.before.shares if change.before else ()), *change.after.shares])
    present = shares_of(experiment.feature_flag.filters)
    return [key for key in keys if key not in present][-_MOST_FORMER_VARIANTS:]


def _rollout(filters: JsonDict) -> float | None:
    groups = groups_of(filters)
    if len(groups) != 1:
        return None
    share = groups[0].get("rollout_percentage")
    return float(share) if isinstance(share, int | float) else _WHOLE


def _differ(one: Distribution, other: Distribution) -> bool:
    return one.assignment != other.assignment


def _object(document: object) -> JsonDict:
    return document if isinstance(document, dict) else {}
