"""All tables."""

from app.models.account import Organization, OrganizationMembership, PersonalApiKey, Project, User
from app.models.base import Base, utc_now
from app.models.event import Event
from app.models.experiment import Experiment
from app.models.fact import Count, Fact, Series, SeriesVariant
from app.models.feature_flag import FeatureFlag
from app.models.hash_key import HashKeyOverride
from app.models.person import Person, PersonDistinctId, PersonMerge

__all__ = [
    "Base",
    "Count",
    "Event",
    "Experiment",
    "Fact",
    "FeatureFlag",
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
    "User",
    "utc_now",
]
