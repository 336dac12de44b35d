"""All tables."""

from app.db.models.account import (
    BrowserSession,
    Organization,
    OrganizationMembership,
    PersonalApiKey,
    Project,
    SignInLink,
    User,
)
from app.db.models.action import Action
from app.db.models.activity_log import ActivityEntry
from app.db.models.base import Base, utc_now
from app.db.models.cohort import Cohort, CohortDistinctId
from app.db.models.cookieless_salt import CookielessSalt
from app.db.models.definition import (
    DefinitionProgress,
    EventDefinition,
    EventProperty,
    EventVolume,
    PropertyDefinition,
)
from app.db.models.event import Event, EventArchive, UnreadTimestamp
from app.db.models.experiment import Experiment, FeatureFlag
from app.db.models.fact import ActorKey, ClickHouseMigration, Count, Fact, Series, SeriesVariant
from app.db.models.group import Group, GroupType
from app.db.models.hash_key_override import HashKeyOverride
from app.db.models.holdout import Holdout
from app.db.models.idempotent_answer import IdempotentAnswer
from app.db.models.imports import FileImport, ImportedFile, ImportedPerson
from app.db.models.person import ErasedPerson, ErasedPersonAnswer, Person, PersonDistinctId, PersonMerge
from app.db.models.saved_metric import SavedMetric
from app.db.models.share_link import ShareLink
from app.db.models.snapshot import Snapshot
from app.db.models.verdict import ExperimentVerdict
from app.db.models.webhook import ExperimentNotice, Webhook, WebhookDelivery

__all__ = [
    "Action",
    "ActivityEntry",
    "ActorKey",
    "Base",
    "BrowserSession",
    "ClickHouseMigration",
    "Cohort",
    "CohortDistinctId",
    "CookielessSalt",
    "Count",
    "DefinitionProgress",
    "ErasedPerson",
    "ErasedPersonAnswer",
    "Event",
    "EventArchive",
    "EventDefinition",
    "EventProperty",
    "EventVolume",
    "Experiment",
    "ExperimentNotice",
    "ExperimentVerdict",
    "Fact",
    "FeatureFlag",
    "FileImport",
    "Group",
    "GroupType",
    "HashKeyOverride",
    "Holdout",
    "IdempotentAnswer",
    "ImportedFile",
    "ImportedPerson",
    "Organization",
    "OrganizationMembership",
    "Person",
    "PersonDistinctId",
    "PersonMerge",
    "PersonalApiKey",
    "Project",
    "PropertyDefinition",
    "SavedMetric",
    "Series",
    "SeriesVariant",
    "ShareLink",
    "SignInLink",
    "Snapshot",
    "UnreadTimestamp",
    "User",
    "Webhook",
    "WebhookDelivery",
    "utc_now",
]
