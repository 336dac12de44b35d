"""The rules of experiments on flags that existed before: such a flag is never changed as a side effect."""

from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import JsonValue

from app.common import limits
from app.common.errors import ValidationFailed
from app.common.page_sizes import fitting
from app.db.models import Experiment, FeatureFlag, Holdout
from app.experiments.current_state import current_status
from app.experiments.documents import participants, refuse_other_rollout, refuse_other_variants, rollout, variants
from app.experiments.existing_flags.repository import FlagUseRepository
from app.experiments.holdouts.service import require_holdout
from app.experiments.lifecycle import invalid_state
from app.experiments.schemas import ExperimentCreate
from app.flags.filters import groups_of, is_multivariate, variants_of
from app.flags.service import FlagService
from app.properties.budget import size_of

_NOT_OPEN: Final = ("draft", "stopped")  # statuses


class ExistingFlags:
    """The flags of one project that experiments may use, or use together."""

    def __init__(self, uses: FlagUseRepository, flags: FlagService) -> None:
        self._uses = uses
        self._flags = flags

    async def find(self, body: ExperimentCreate, holdout: Holdout | None) -> FeatureFlag | None:
        """Return the flag that a new experiment may use; None where it gets one of its own.

        Raises
        ------
        ValidationFailed
            When the flag exists and cannot be used, or the experiment says other things than the flag.
        """
        if not body.allow_existing_flag:
            return None
        flag = await self._uses.with_key(body.feature_flag_key)
        if flag is None:
            return None
        if not is_multivariate(flag.filters):
            raise _refusal(
                f"The feature flag {flag.key[:200]!r} has {len(variants_of(flag.filters))} variants: an experiment "
                f"needs 2 to {limits.VARIANTS.value}."
            )
        if users := await self._uses.users_of(flag.id):
            raise _refusal(
                f"The feature flag {flag.key[:200]!r} is in use by the experiment {users[0][:200]!r}, which has not "
                "ended.",
                "unique",
            )
        if (planned := variants(body.parameters)) is not None:
            refuse_other_variants(variants_of(flag.filters), planned)
        refuse_other_rollout(flag.filters, rollout(body.parameters))
        require_participants(flag, body.filters if isinstance(body.filters, dict) else {})
        require_holdout(flag, holdout)
        return flag

    async def refuse_second_run(self, experiment: Experiment) -> None:
        """Refuse to open an experiment whose flag is in another one that has not ended.

        Raises
        ------
        ValidationFailed
            With the code ``invalid_state``.
        """
        users = await self._uses.users_of(experiment.feature_flag_id, besides=experiment.id)
        if users:
            raise invalid_state(
                f"The feature flag is in use by the experiment {users[0][:200]!r}, which has not ended: those whom "
                "it assigns would be in both."
            )

    async def check_opening(self, experiment: Experiment, status_before: object) -> None:
        """Refuse a change that opens an experiment as ``refuse_second_run`` does."""
        if status_before in _NOT_OPEN and current_status(experiment) not in _NOT_OPEN:
            await self.refuse_second_run(experiment)

    async def is_own(self, experiment: Experiment) -> bool:
        """Whether the flag was created with the experiment, and no other one uses it."""
        if experiment.uses_existing_flag:
            return False
        return not await self._uses.users_of(experiment.feature_flag_id, besides=experiment.id, only_open=False)

    async def page(self, limit: int, offset: int) -> tuple[int, Sequence[FeatureFlag]]:
        """Return the flags that a new experiment may use, newest first."""
        eligible, sizes = [], []
        async for flag_id, filters in self._uses.unused():
            if is_multivariate(filters):
                eligible.append(flag_id)
                sizes.append(size_of(filters))
        shown = eligible[offset : offset + min(limit, fitting(sizes[offset:]))]
        return len(eligible), await self._flags.with_ids(shown)


def require_participants(flag: FeatureFlag, filters: Mapping[str, JsonValue]) -> None:
    """Refuse participants in the filters of an experiment that are not those of its flag's release conditions."""
    named = participants(filters)
    if named and not all((group.get("properties") or []) == named for group in groups_of(flag.filters)):
        raise ValidationFailed(
            f"The feature flag {flag.key[:200]!r} existed before the experiment: its release conditions say who takes "
            "part. Leave `properties` out.",
            attr="filters",
        )


def _refusal(detail: str, code: str = "invalid_input") -> ValidationFailed:
    return ValidationFailed(detail, code=code, attr="feature_flag_key")
