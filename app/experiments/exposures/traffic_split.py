"""The traffic split of an experiment's flag, and its changes while the experiment ran."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.activity_log.repository import ActivityRepository
from app.common.timestamps import write_moment
from app.db.database import Database
from app.db.models import ActivityEntry, Experiment
from app.flags.filters import JsonDict, variant_keys, variants_of
from app.statistics.frequentist.sample_ratio import SampleRatio, check_sample_ratio

VARIANTS = "feature_flag_variants"  # in an experiment's parameters
_MOST_FORMER_VARIANTS = 100


@dataclass(frozen=True)
class SplitChange:
    """A change of the flag's variants while the experiment ran."""

    when: str
    who: str | None


@dataclass(frozen=True)
class TrafficSplit:
    """The shares of a flag's variants: at the experiment's end, or now while it runs.

    ``former_variants`` are those that the flag had since the experiment's start, or that the experiment planned, and
    that the flag has no longer.
    """

    shares: Mapping[str, float]
    changes: Sequence[SplitChange]
    former_variants: Sequence[str] = ()

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
        entries = await self._changes(experiment)
        for entry in entries:
            if end is not None and entry.created_at >= end:
                filters = _filters_before(entry)
                break
            changes.append(SplitChange(write_moment(entry.created_at), entry.user.email if entry.user else None))
        return TrafficSplit(shares_of(filters), changes, _former_variants(experiment, entries))

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


def _former_variants(experiment: Experiment, entries: Sequence[ActivityEntry]) -> list[str]:
    planned = experiment.parameters if isinstance(experiment.parameters, dict) else {}
    keys = dict.fromkeys(shares_of({"multivariate": {"variants": planned.get(VARIANTS)}}))
    for change in (change for entry in entries for change in entry.detail["changes"] if change["field"] == "filters"):
        keys |= dict.fromkeys([*shares_of(_object(change["before"])), *shares_of(_object(change["after"]))])
    present = shares_of(experiment.feature_flag.filters)
    return [key for key in keys if key not in present][-_MOST_FORMER_VARIANTS:]


def _changes_shares(entry: ActivityEntry) -> bool:
    return any(
        change["field"] == "filters" and shares_of(_object(change["before"])) != shares_of(_object(change["after"]))
        for change in entry.detail["changes"]
    )


def _filters_before(entry: ActivityEntry) -> JsonDict:
    return next(_object(change["before"]) for change in entry.detail["changes"] if change["field"] == "filters")


def _object(document: object) -> JsonDict:
    return document if isinstance(document, dict) else {}
