"""What speaks against an action: the recommendation, the checklist, or the state of the experiment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.common.errors import ValidationFailed
from app.common.nouns import capitalized
from app.db.models import Experiment
from app.experiments.current_state import current_status
from app.experiments.phases.checklist import LaunchChecklist
from app.experiments.scorecard.decision_table import Recommendation
from app.experiments.scorecard.schemas import DecisionRead
from app.experiments.scorecard.service import ScorecardService

# With which recommendations an action is at odds.
_AT_ODDS: Final[Mapping[str, frozenset[Recommendation]]] = {
    "end": frozenset({"keep_running"}),
    "pause": frozenset({"keep_running"}),
    "resume": frozenset({"rollback"}),
}
_NO_WIN: Final[frozenset[Recommendation]] = frozenset({"rollback", "keep_running", "blocked", "resume"})
# With which recommendations their variant is one to ship: others name what is to be served meanwhile.
RECOMMENDING: Final[frozenset[Recommendation]] = frozenset({"ship", "rollback", "decided"})
_NEED_A_DECISION: Final = frozenset({"ship", "conclude", *_AT_ODDS})


@dataclass(frozen=True)
class Objection:
    title: str
    details: Sequence[str]


class Objections:
    """Finds what speaks against actions on one project's experiments."""

    def __init__(self, scorecards: ScorecardService, checklists: LaunchChecklist) -> None:
        self._scorecards = scorecards
        self._checklists = checklists

    async def decision(self, name: str, experiment: Experiment) -> DecisionRead | None:
        """Return the recommendation, where an action may be at odds with it; None where there is none."""
        if name not in _NEED_A_DECISION:
            return None
        try:
            return await self._scorecards.decision(experiment)
        except ValidationFailed:  # it cannot be analyzed, so there is no recommendation
            return None

    async def against(
        self, name: str, experiment: Experiment, unit: str, decision: DecisionRead | None, fields: Mapping[str, str]
    ) -> Objection | None:
        """Return what speaks against an action; ``unit`` is what the flag assigns, in the plural."""
        if name == "launch":
            return await self._of_the_checklist(experiment)
        if name in {"delete", "reset"} and current_status(experiment) in {"running", "exposure_frozen"}:
            detail = f"{capitalized(unit)} get its variants right now. End it first, to keep its results."
            return Objection("It is running", [detail])
        if decision is None:
            return None
        if name == "ship":
            variant = fields.get("variant_key")
            is_at_odds = variant is not None and not (
                decision.recommendation in RECOMMENDING and decision.variant_key == variant
            )
        elif name == "conclude":
            is_at_odds = fields.get("conclusion") == "won" and decision.recommendation in _NO_WIN
        else:
            is_at_odds = decision.recommendation in _AT_ODDS[name]
        if not is_at_odds:
            return None
        return Objection(f"The recommendation is another one: {decision.title}", [decision.summary])

    async def _of_the_checklist(self, experiment: Experiment) -> Objection | None:
        missing = [one for one in await self._checklists.of(experiment) if one.state == "missing"]
        needed = [one for one in missing if one.level != "optional"]
        if not needed:
            return None
        return Objection(
            "The launch checklist is not done", [f"{one.title}: {one.detail} {one.action}" for one in needed]
        )
