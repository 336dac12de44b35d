"""The traffic split of an experiment's flag, and its changes while the experiment ran."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.activity_log.repository import ActivityRepository
from app.common.timestamps import write_moment
from app.db.database import Database
from app.db.models import ActivityEntry, Experiment
from app.flags.filters import JsonDict, variant_keys, variants_of
from app.statistics.frequentist.sample_ratio import SampleRatio, check_sample_ratio


@dataclass(frozen=True)
class SplitChange:
    """A change of the flag's variants while the experiment ran."""

    when: str
    who: str | None


@dataclass(frozen=True)
class TrafficSplit:
    """The shares of a flag's variants: at the experiment's end, or now while it runs."""

    shares: Mapping[str, float]
    changes: Sequence[SplitChange]

    def test(self, exposed: Mapping[str, int]) -> SampleRatio | None:
        """Test exposed persons or groups against the shares; None where the shares do not predict them."""
        weights = {key: self.shares.get(key, 0.0) for key in exposed}
        if self.changes or not any(exposed.values()) or not any(weights.values()):
            return None
        return check_sample_ratio(exposed, weights)


class TrafficSplitQueries:
    """Reads the traffic splits of one project's experiments."""

    def __init__(self, database: Database, project_id: int) -> None:
        self._database = database
        self._project_id = project_id

    async def split(self, experiment: Experiment) -> TrafficSplit:
        """Return the split of an experiment that has started."""
        filters, end = experiment.feature_flag.filters, experiment.end_date
        changes: list[SplitChange] = []
        for entry in await self._changes(experiment):
            if end is not None and entry.created_at >= end:
                filters = _filters_before(entry)
                break
            changes.append(SplitChange(write_moment(entry.created_at), entry.user.email if entry.user else None))
        return TrafficSplit(shares_of(filters), changes)

    async def _changes(self, experiment: Experiment) -> list[ActivityEntry]:
        """Return the changes of the flag's shares since the experiment's start, oldest first."""
        if experiment.start_date is None:
            return []
        async with self._database.read() as session:
            entries = ActivityRepository(session, self._project_id).since(
                "FeatureFlag", experiment.feature_flag_id, experiment.start_date
            )
            return [entry async for entry in entries if entry.activity != "created" and _changes_shares(entry)]


def shares_of(filters: JsonDict) -> dict[str, float]:
    """Return the share of each variant of a flag, in percent, control first."""
    shares = {str(one.get("key")): one.get("rollout_percentage") for one in variants_of(filters)}
    numbers = {key: float(share) for key, share in shares.items() if isinstance(share, int | float)}
    return {key: numbers.get(key, 0.0) for key in variant_keys(filters)}


def _changes_shares(entry: ActivityEntry) -> bool:
    return any(
        change["field"] == "filters" and shares_of(_object(change["before"])) != shares_of(_object(change["after"]))
        for change in entry.detail["changes"]
    )


def _filters_before(entry: ActivityEntry) -> JsonDict:
    return next(_object(change["before"]) for change in entry.detail["changes"] if change["field"] == "filters")


def _object(document: object) -> JsonDict:
    return document if isinstance(document, dict) else {}
