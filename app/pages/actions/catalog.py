"""The actions of an experiment's page: what each is called, what it does, and when it is offered."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, get_args

from app.common.errors import ValidationFailed
from app.common.nouns import capitalized
from app.db.models import Experiment
from app.experiments.current_state import current_status
from app.experiments.lifecycle import Action, Status, check_action
from app.experiments.phases.service import refuse_to_freeze, refuse_to_unfreeze

_STARTED: Final[tuple[Status, ...]] = ("running", "paused", "exposure_frozen", "stopped")


@dataclass(frozen=True)
class PageAction:
    """An action. ``done`` is what the page says afterwards; ``consequences`` are said before.

    ``{unit}`` in them stands for what the flag assigns: persons, or groups of a type.
    """

    name: str
    title: str
    question: str
    consequences: Sequence[str]
    done: str
    concludes: bool = False  # whether it asks for the outcome
    is_harmful: bool = False  # whether something is lost by it

    def tell_consequences(self, unit: str) -> list[str]:
        return [text.format(unit=unit, Unit=capitalized(unit)) for text in self.consequences]


ACTIONS: Final[Sequence[PageAction]] = (
    PageAction(
        "launch",
        "Launch",
        "Launch this experiment?",
        ("Its flag becomes active: {unit} get their variants from now on.", "Events count from now on."),
        "The experiment runs.",
    ),
    PageAction(
        "ship",
        "Ship a variant",
        "Ship a variant?",
        (
            "All {unit} get the variant that you choose, from now on.",
            "The experiment ends. A snapshot keeps its results and the flag as it was.",
        ),
        "The variant is shipped: the flag gives it to all.",
        concludes=True,
    ),
    PageAction(
        "end",
        "End",
        "End this experiment?",
        (
            "Later events do not count. A snapshot keeps the results.",
            "The flag stays as it is: {unit} keep getting their variants until you ship one or switch it off.",
        ),
        "The experiment has ended.",
        concludes=True,
    ),
    PageAction(
        "pause",
        "Pause",
        "Pause this experiment?",
        (
            "Its flag is switched off: {unit} get what they get without it, and no more of them are exposed.",
            "Events of {unit} that were exposed still count, though they no longer see their variant.",
        ),
        "The experiment is paused.",
    ),
    PageAction(
        "resume",
        "Resume",
        "Resume this experiment?",
        ("Its flag is switched on again: all {unit} get the same variants as before.",),
        "The experiment runs again.",
    ),
    PageAction(
        "freeze",
        "Freeze exposure",
        "Let no others in?",
        (
            "{Unit} that were exposed keep their variants. No other {unit} are exposed from now on.",
            "A cohort of the exposed {unit} is made, and every release condition of the flag asks for it.",
        ),
        "The exposure is frozen: no others get in.",
    ),
    PageAction(
        "unfreeze",
        "Unfreeze exposure",
        "Let others in again?",
        (
            "The flag is released by the conditions from before the freeze: others are exposed again.",
            "The cohort of those who were exposed is kept.",
        ),
        "Others are exposed again.",
    ),
    PageAction(
        "conclude",
        "Write a conclusion",
        "What came out?",
        ("The outcome is shown in the list, on the page and in reports. It changes neither flag nor figures.",),
        "The conclusion is written down.",
        concludes=True,
    ),
    PageAction(
        "archive",
        "Archive",
        "Archive this experiment?",
        ("It leaves the list, and is found there under Archived. Nothing is lost.",),
        "The experiment is archived.",
    ),
    PageAction(
        "unarchive",
        "Unarchive",
        "Unarchive this experiment?",
        ("It is in the list again.",),
        "The experiment is in the list again.",
    ),
    PageAction(
        "duplicate",
        "Duplicate",
        "Duplicate this experiment?",
        (
            "A draft of the same metrics, variants and participants is made, with a flag and a key of its own.",
            "Its ramp and circuit breakers are copied, the times of its schedule are not.",
        ),
        "This is the copy, a draft.",
    ),
    PageAction(
        "reset",
        "Reset",
        "Make this experiment a draft again?",
        (
            "Its dates, its conclusion and the schedule's times are cleared.",
            "Its flag stays as it is, on or off, and {unit} keep their variants. Events and snapshots stay, too.",
            "Launched again, it counts from then on only.",
        ),
        "The experiment is a draft again.",
        is_harmful=True,
    ),
    PageAction(
        "delete",
        "Delete",
        "Delete this experiment for good?",
        (
            "The experiment, its snapshots and its share links are removed, and cannot be brought back.",
            "A flag of its own is deleted, too: the code gets nothing for its key any more.",
            "Events stay, and the activity log keeps who deleted it.",
        ),
        "The experiment is deleted.",
        is_harmful=True,
    ),
)
BY_NAME: Final = {action.name: action for action in ACTIONS}
_OF_THE_LIFE_CYCLE: Final = {"ship": "ship_variant", "freeze": "freeze_exposure", "unfreeze": "unfreeze_exposure"}


def action_of_the_api(name: str) -> str:
    """Return what the API calls an action of a page."""
    return _OF_THE_LIFE_CYCLE.get(name, name)


def offered(experiment: Experiment) -> Sequence[PageAction]:
    """Return what the state of an experiment allows, in the order in which it is offered."""
    return [action for action in ACTIONS if _is_allowed(action.name, experiment)]


def _is_allowed(name: str, experiment: Experiment) -> bool:
    status = current_status(experiment)
    if name == "conclude":
        return status in _STARTED
    known = next((one for one in get_args(Action) if one == action_of_the_api(name)), None)
    if known is None:  # duplicate and delete
        return True
    try:
        check_action(known, status, is_archived=experiment.archived)
        if name == "freeze":
            refuse_to_freeze(experiment)
        if name == "unfreeze":
            refuse_to_unfreeze(experiment)
    except ValidationFailed:
        return False
    return True


def describe_done(name: str) -> str:
    """Return what a page says after an action; nothing for another name."""
    return BY_NAME[name].done if name in BY_NAME else ""
