"""The rules of holdouts, and how they get into the flags of experiments."""

from collections.abc import Sequence

from app.common.errors import NotFound, ValidationFailed
from app.common.ids import read_id
from app.db.models import Experiment, FeatureFlag, Holdout, User, utc_now
from app.experiments.holdouts.repository import HoldoutRepository
from app.experiments.holdouts.schemas import HoldoutCreate, HoldoutFilter, HoldoutUpdate
from app.flags.filters import JsonDict
from app.flags.holdouts import Holdout as FlagHoldout
from app.flags.holdouts import holdout_variant, read_holdout
from app.flags.service import FlagService

_SHOWN_EXPERIMENTS = 5


class HoldoutService:
    """Holdouts of one project."""

    def __init__(self, holdouts: HoldoutRepository, flags: FlagService) -> None:
        self._holdouts = holdouts
        self._flags = flags

    async def get(self, reference: str, *, for_update: bool = False) -> Holdout:
        """Return the holdout that a path names; ``NotFound`` otherwise."""
        holdout_id = read_id(reference)
        holdout = await self._holdouts.get(holdout_id, for_update=for_update) if holdout_id else None
        if holdout is None:
            raise NotFound
        return holdout

    async def page(self, limit: int, offset: int) -> tuple[int, Sequence[Holdout]]:
        return await self._holdouts.count(), await self._holdouts.page(limit, offset)

    async def experiments_of(self, holdout: Holdout) -> Sequence[Experiment]:
        """Return the experiments that name a holdout, oldest first, with their flags."""
        return await self._holdouts.experiments_of(holdout.id)

    async def create(self, body: HoldoutCreate, created_by: User) -> Holdout:
        holdout = Holdout(name=body.name, description=body.description, filters=[], created_by_id=created_by.id)
        await self._holdouts.add(holdout)
        holdout.filters = _stored(holdout.id, body.filters)
        await self._holdouts.flush()
        return await self.get(str(holdout.id))

    async def update(self, holdout: Holdout, body: HoldoutUpdate, changed_by: User) -> Holdout:
        """Change a holdout; another percentage goes into the flags of the experiments that name it.

        Raises
        ------
        ValidationFailed
            When the percentage would change under an experiment that was launched, or in a flag that is not the
            experiment's own.
        """
        for field in body.model_fields_set & {"name", "description"}:
            setattr(holdout, field, getattr(body, field))
        if body.filters is not None and body.filters[0].rollout_percentage != percentage_of(holdout):
            experiments = await self._holdouts.experiments_of(holdout.id, for_update=True)
            _refuse_changed_percentage(experiments)
            holdout.filters = _stored(holdout.id, body.filters)
            for experiment in experiments:
                await self._flags.set_holdout(experiment.feature_flag, holdout_for_flag(holdout), changed_by)
        holdout.updated_at = utc_now()
        await self._holdouts.flush()
        return holdout

    async def delete(self, holdout: Holdout) -> None:
        """Delete a holdout that no experiment names.

        Raises
        ------
        ValidationFailed
            It names the experiments that do.
        """
        users = await self._holdouts.experiments_of(holdout.id)
        if users:
            raise ValidationFailed(
                f"The holdout is named by {_names(users)}: its flags keep these persons out, and its figures rest on"
                " that. Delete them, or take the holdout out of drafts.",
                code="in_use",
            )
        await self._holdouts.delete(holdout)

    async def find_to_refer(self, holdout_id: int | None) -> Holdout | None:
        """Return the holdout that an experiment is to name, which stays as it is until the transaction ends.

        Raises
        ------
        ValidationFailed
            When there is no such holdout.
        """
        if holdout_id is None:
            return None
        holdout = await self._holdouts.get_to_refer(holdout_id)
        if holdout is None:
            raise ValidationFailed(f"There is no holdout {holdout_id}.", code="does_not_exist", attr="holdout_id")
        return holdout

    async def change(self, experiment: Experiment, holdout_id: int | None, changed_by: User) -> None:
        """Give an experiment another holdout, or none, and its flag too.

        Raises
        ------
        ValidationFailed
            When the experiment was launched, there is no such holdout, or the flag is not the experiment's own.
        """
        if holdout_id == experiment.holdout_id:
            return
        if experiment.start_date is not None:
            raise ValidationFailed(
                "The holdout of an experiment cannot change after its launch: persons would move in and out of it.",
                code="invalid_state",
                attr="holdout_id",
            )
        holdout = await self.find_to_refer(holdout_id)
        if experiment.uses_existing_flag:
            require_holdout(experiment.feature_flag, holdout)
        else:
            await self._flags.set_holdout(
                experiment.feature_flag, None if holdout is None else holdout_for_flag(holdout), changed_by
            )
        experiment.holdout_id = holdout_id


def percentage_of(holdout: Holdout) -> float:
    """Return the share of persons who are held out, in percent."""
    return float(holdout.filters[0]["rollout_percentage"])


def holdout_for_flag(holdout: Holdout) -> JsonDict:
    """Return a holdout as the filters of flags have it."""
    return {"id": holdout.id, "exclusion_percentage": holdout.filters[0]["rollout_percentage"]}


def require_holdout(flag: FeatureFlag, holdout: Holdout | None) -> None:
    """Refuse a holdout that a flag does not have, where an experiment does not change its flag by itself."""
    expected = None if holdout is None else FlagHoldout(holdout_variant(holdout.id), percentage_of(holdout))
    if expected is not None and read_holdout(flag.filters) != expected:
        raise ValidationFailed(
            f"The feature flag {flag.key[:200]!r} existed before the experiment, which therefore does not change whom "
            "it keeps out: write the holdout into the flag's filters first "
            '(`"holdout": {"id": ..., "exclusion_percentage": ...}`).',
            attr="holdout_id",
        )


def _stored(holdout_id: int, filters: Sequence[HoldoutFilter]) -> list[JsonDict]:
    variant = holdout_variant(holdout_id)
    return [
        {"properties": [], "rollout_percentage": _number(one.rollout_percentage), "variant": variant} for one in filters
    ]


def _number(value: float) -> int | float:
    return int(value) if value.is_integer() else value


def _refuse_changed_percentage(experiments: Sequence[Experiment]) -> None:
    launched = [one for one in experiments if one.start_date is not None]
    if launched:
        raise ValidationFailed(
            f"The percentage cannot change any more, because {_names(launched)} was launched with it: persons would "
            "move between the holdout and the variants, and neither would be comparable with before. Create another "
            "holdout for the next experiments.",
            code="in_use",
            attr="filters",
        )
    foreign = [one for one in experiments if one.uses_existing_flag]
    if foreign:
        raise ValidationFailed(
            f"The percentage cannot change, because the flag of {_names(foreign)} existed before it and is not changed "
            "by itself.",
            code="in_use",
            attr="filters",
        )


def _names(experiments: Sequence[Experiment]) -> str:
    shown = ", ".join(repr(one.name[:100]) for one in experiments[:_SHOWN_EXPERIMENTS])
    more = f" and {len(experiments) - _SHOWN_EXPERIMENTS} more" if len(experiments) > _SHOWN_EXPERIMENTS else ""
    return f"{'the experiments' if len(experiments) > 1 else 'the experiment'} {shown}{more}"
