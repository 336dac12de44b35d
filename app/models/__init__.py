"""All tables."""

from app.models.account import Organization, OrganizationMembership, PersonalApiKey, Project, User
from app.models.action import Action
from app.models.activity import ActivityEntry
from app.models.base import Base, utc_now
from app.models.cohort import Cohort, CohortDistinctId
from app.models.event import Event
from app.models.experiment import Experiment
from app.models.fact import ActorKey, Count, Fact, Series, SeriesVariant
from app.models.feature_flag import FeatureFlag
from app.models.group import Group, GroupType
from app.models.hash_key import HashKeyOverride
from app.models.person import Person, PersonDistinctId, PersonMerge
from app.models.snapshot import Snapshot

__all__ = [
    "Action",
    "ActivityEntry",
    "ActorKey",
    "Base",
    "Cohort",
    "CohortDistinctId",
    "Count",
    "Event",
    "Experiment",
    "Fact",
    "FeatureFlag",
    "Group",
    "GroupType",
    "HashKeyOverride",
    "Organization",
    "OrganizationMembership",
    "Person",
    "PersonDistinctId",
    "PersonMerge",
    "PersonalApiKey",
    "Project",
    "Series",
    "SeriesVariant",
    "Snapshot",
    "User",
    "utc_now",
]
