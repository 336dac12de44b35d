"""All tables."""

from app.models.account import Organization, OrganizationMembership, PersonalApiKey, Project, User
from app.models.action import Action
from app.models.base import Base, utc_now
from app.models.cohort import Cohort, CohortDistinctId
from app.models.event import Event
from app.models.experiment import Experiment
from app.models.fact import Count, Fact, Series, SeriesVariant
from app.models.feature_flag import FeatureFlag
from app.models.person import Person, PersonDistinctId, PersonMerge

__all__ = [
    "Action",
    "Base",
    "Cohort",
    "CohortDistinctId",
    "Count",
    "Event",
    "Experiment",
    "Fact",
    "FeatureFlag",
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
