"""What the forms of a project offer: names of properties of events, shared metrics and holdouts."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.common.number_texts import format_chosen_share
from app.db.models import Holdout, SavedMetric
from app.experiments.holdouts.service import percentage_of


@dataclass(frozen=True)
class Choices:
    properties: Sequence[str]
    saved: Sequence[SavedMetric]
    holdouts: Sequence[Holdout]

    def saved_choices(self, chosen: str) -> dict[str, str]:
        """Return the shared metrics by their ids, and what is chosen even if it is not among the newest ones."""
        offered = {"": "none", **{str(one.id): one.name for one in self.saved}}
        return offered if chosen in offered else offered | {chosen: f"Shared metric {chosen}"}

    def holdout_choices(self, chosen: str) -> dict[str, str]:
        """Return the holdouts by their ids, and what is chosen even if it is not among the newest ones."""
        offered = {"": "none"}
        offered |= {
            str(one.id): f"{one.name} ({format_chosen_share(percentage_of(one) / 100)})" for one in self.holdouts
        }
        return offered if chosen in offered else offered | {chosen: f"Holdout {chosen}"}
