"""Builds the response bodies of flags."""

from app.accounts.users import UserBasic
from app.db.models import FeatureFlag
from app.flags.filters import is_simple, simple_rollout_percentage
from app.flags.schemas import FlagRead


def read_flag(flag: FeatureFlag) -> FlagRead:
    """Return a flag that was loaded with its author and experiments."""
    return FlagRead(
        id=flag.id,
        name=flag.name,
        key=flag.key,
        filters=flag.filters,
        deleted=flag.deleted,
        active=flag.active,
        created_by=UserBasic.model_validate(flag.created_by) if flag.created_by else None,
        created_at=flag.created_at,
        is_simple_flag=is_simple(flag.filters),
        rollout_percentage=simple_rollout_percentage(flag.filters),
        ensure_experience_continuity=flag.ensure_experience_continuity,
        experiment_set=[experiment.id for experiment in flag.experiments],
        rollback_conditions=None,
        performed_rollback=None,
        can_edit=True,
    )
