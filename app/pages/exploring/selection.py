"""Which look at an experiment a visitor asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.common.errors import ValidationFailed
from app.db.models import Experiment
from app.experiments.compared_variants import baseline_of, compared_variants
from app.experiments.scorecard.breakdown_request import AskedBreakdown, read_breakdown
from app.experiments.scorecard.experiment_metrics import metrics_of
from app.flags.filters import variant_keys

LEVELS: Final = ("80", "90", "95", "99")


@dataclass(frozen=True)
class Look:
    """A look at an experiment. ``stats_config`` is the experiment's, with what was chosen in its place."""

    metric_id: str
    variant: str  # "" is all of them
    baseline: str
    level: str
    is_absolute: bool
    stats_config: Mapping[str, Any]
    breakdown: AskedBreakdown | None
    problem: str  # what is wrong with the breakdown that was asked for


def read_look(experiment: Experiment, query: Mapping[str, str]) -> Look:
    """Return the look that a query asks for; what the experiment does not have means its default."""
    settings = dict(experiment.stats_config or {})
    compared = compared_variants(variant_keys(experiment.feature_flag.filters), settings)
    metrics = [metric.id for metric in metrics_of(experiment)]
    metric = _one_of(metrics, query.get("metric"), metrics[0])
    baseline = _one_of(compared, query.get("baseline"), baseline_of(compared, settings) or "")
    if baseline != baseline_of(compared, settings):
        settings["baseline_variant_key"] = baseline
    level = query.get("level", "")
    if level in LEVELS:
        settings["confidence_level"] = int(level) / 100
    else:
        level = ""
    breakdown, problem = None, ""
    if name := query.get("breakdown", "").strip():
        try:
            breakdown = read_breakdown(name, query.get("of") or None, query.get("by") or None, None, metric)
        except ValidationFailed as refusal:
            problem = refusal.detail
    return Look(
        metric_id=metric,
        variant=_one_of(compared, query.get("variant"), ""),
        baseline=baseline,
        level=level,
        is_absolute=query.get("difference") == "absolute",
        stats_config=settings,
        breakdown=breakdown,
        problem=problem,
    )


def _one_of(known: Sequence[str], asked: str | None, default: str) -> str:
    return asked if asked in known and asked is not None else default
