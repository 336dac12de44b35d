"""The decision rule: what the data of an experiment show, and what the decision table recommends for it.

The rule uses anytime-valid intervals unless the experiment's ``stats_config`` says otherwise, so it may be applied
every day.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.common.nouns import none_of
from app.common.number_texts import format_chosen_share, format_p_value
from app.experiments.scorecard.decision_criteria import Criteria
from app.experiments.scorecard.decision_table import TABLE, Evidence, Recommendation, State, title_of
from app.experiments.scorecard.progress import Progress, describe_uncounted, measure_progress
from app.experiments.scorecard.standings import DecidedMetric, Standing, compare_variants
from app.experiments.scorecard.states import Situation
from app.statistics.failures import MIN_EXPECTED
from app.statistics.frequentist.sample_ratio import SampleRatio
from app.statistics.posthog_2022.significance import MIN_EXPOSURE
from app.statistics.results import Analysis


@dataclass(frozen=True)
class Reason:
    code: str
    metric_id: str | None
    detail: str


@dataclass(frozen=True)
class Decision:
    """What is recommended. ``variant`` is the variant to serve to everyone; None while the split is to be served."""

    state: State
    evidence: Evidence
    recommendation: Recommendation
    variant: str | None
    advice: str
    reasons: Sequence[Reason]
    progress: Progress

    @property
    def title(self) -> str:
        """The recommendation as a heading."""
        return title_of(self.recommendation, self.state, self.variant)


@dataclass(frozen=True)
class _Finding:
    """What the data show, and the variant that is best by it."""

    evidence: Evidence
    reasons: Sequence[Reason]
    best: str | None = None


_DAYS_OF_TWO_YEARS = 730
_NOTHING = _Finding("no_data", [])


def decide(
    primary: DecidedMetric | None,
    guardrails: Sequence[DecidedMetric],
    sample_ratio: SampleRatio | None,
    criteria: Criteria,
    situation: Situation,
) -> Decision:
    """Return the recommendation for an experiment.

    Parameters
    ----------
    sample_ratio
        The test of the exposed persons against the planned split; None where it does not apply.
    """
    progress = measure_progress(primary, criteria, situation.runtime)
    if situation.phase != "running":  # no new data come: there is no pace
        progress = replace(progress, days_left=None, takes_too_long=False)
    found = _NOTHING
    if situation.phase not in {"draft", "scheduled"}:
        found = _examine(primary, guardrails, sample_ratio, criteria, progress, situation.unit)
    state = _state(situation, found.evidence, criteria)
    answer = TABLE[state][found.evidence]
    decided_variant = situation.decided_variant or found.best
    served = {"best": found.best, "baseline": situation.baseline, "decided": decided_variant}
    variant = None if answer.serves is None else served[answer.serves]
    to_serve = f" {variant} is the variant to serve." if state == "concluded" and variant is not None else ""
    return Decision(
        state=state,
        evidence=found.evidence,
        recommendation=answer.recommendation,
        variant=variant,
        advice=answer.advice.format(variant=variant, left=_write_left(progress), decided=situation.decided + to_serve),
        reasons=[*_circumstances(state, found.evidence, situation, criteria), *found.reasons],
        progress=progress,
    )


def _state(situation: Situation, evidence: Evidence, criteria: Criteria) -> State:
    phase, is_early = situation.phase, situation.runtime < criteria.minimum_runtime
    if phase == "running" and evidence == "no_data":
        return "running_without_data"
    if phase == "running" and evidence == "not_enough_data":
        return "running_below_minimum_sample"
    if is_early and phase == "running":
        return "running_below_minimum_time"
    if is_early and phase == "paused":
        return "paused_below_minimum_time"
    if is_early and phase == "ended":
        return "ended_below_minimum_time"
    return phase


def _circumstances(state: State, evidence: Evidence, situation: Situation, criteria: Criteria) -> list[Reason]:
    """Return why another recommendation follows from the evidence than for a running experiment."""
    if TABLE[state][evidence].recommendation == TABLE["running"][evidence].recommendation:
        return []
    reasons = []
    if state in {"ended", "ended_below_minimum_time"}:
        reasons.append(Reason("ended", None, "The experiment has ended."))
    if state in {"paused", "paused_below_minimum_time"}:
        reasons.append(Reason("paused", None, "The flag is off, or gives everyone the baseline."))
    if state.endswith("below_minimum_time"):
        detail = f"It has run for {situation.runtime:.1f} of at least {criteria.minimum_runtime:g} days."
        reasons.append(Reason("minimum_runtime", None, detail))
    return reasons


def _examine(
    primary: DecidedMetric | None,
    guardrails: Sequence[DecidedMetric],
    sample_ratio: SampleRatio | None,
    criteria: Criteria,
    progress: Progress,
    unit: str,
) -> _Finding:
    """Return what the data show, in the order of ``EVIDENCE``."""
    if sample_ratio is not None and sample_ratio.is_mismatch:
        return _Finding("split_mismatch", [_mismatch(sample_ratio, unit)])
    if primary is None or primary.analysis is None:
        return _Finding("not_comparable", [_missing(primary)])
    if not progress.exposed:
        return _without_samples(primary, unit)
    standings = compare_variants(primary, guardrails)
    if standings and all(one.is_bad for one in standings):
        is_harmful = any(one.harmed for one in standings)
        return _Finding("harmful" if is_harmful else "control_wins", _reasons(standings))
    if not any(one.is_judged for one in standings):
        detail = _explain_too_few(primary.analysis, unit)
        return _Finding("not_enough_data", [Reason("not_enough_data", primary.id, detail), *_reasons(standings)])
    return _compare(primary, standings, criteria, progress)


def _without_samples(primary: DecidedMetric, unit: str) -> _Finding:
    if primary.exposed:
        return _Finding(
            "not_enough_data", [Reason("not_enough_data", primary.id, describe_uncounted(primary.exposed, unit))]
        )
    detail = f"There are not enough data to compare the variants: {none_of(unit)} analyzed."
    return _Finding("no_data", [Reason("no_data", primary.id, detail)])


def _compare(primary: DecidedMetric, standings: Sequence[Standing], criteria: Criteria, progress: Progress) -> _Finding:
    """Return what the data show of variants, at least one of which is judged and not bad."""
    winners = sorted((one for one in standings if one.is_better), key=lambda one: one.gain, reverse=True)
    harmless = [one for one in winners if not one.harmed]
    shippable = [one for one in harmless if criteria.preset == "clear_signals" or not one.open]
    if shippable:
        return _Finding("superior", _reasons(shippable[:1]), shippable[0].key)
    if harmless:
        return _Finding("superior_with_open_guardrail", _reasons(harmless[:1]), harmless[0].key)
    if winners:
        return _Finding("superior_with_harmed_guardrail", _reasons(winners[:1]), winners[0].key)
    if progress.precision < 1:
        detail = (
            f"The data are not precise enough yet to show a change of {format_chosen_share(criteria.target_effect)}."
        )
        evidence: Evidence = "inferior" if any(one.is_bad for one in standings) else "inconclusive"
        return _Finding(evidence, [*_reasons(standings), Reason("not_precise_enough", primary.id, detail)])
    safe = [one for one in standings if not one.is_bad and not one.open and one.is_not_inferior]
    if criteria.preset == "do_no_harm" and safe:
        chosen = max(safe, key=lambda one: one.gain)
        detail = (
            f"{chosen.key} does no harm: it is not worse than the baseline by more than "
            f"{format_chosen_share(primary.role.margin)} in {primary.name}, nor by more than is allowed in any "
            "guardrail."
        )
        return _Finding("equivalent", [Reason("no_harm", primary.id, detail)], chosen.key)
    detail = (
        f"The data are precise enough to show a change of {format_chosen_share(criteria.target_effect)} in "
        f"{primary.name}, but there is no clear effect: whether to ship depends on cost and preference."
    )
    return _Finding("no_clear_effect", [*_reasons(standings), Reason("no_clear_effect", primary.id, detail)])


def _explain_too_few(analysis: Analysis, unit: str) -> str:
    failures = {failure for one in analysis.variants for failure in one.failures}
    if "not-enough-exposures" in failures:
        return f"There are too few {unit} for a verdict: each variant needs {MIN_EXPOSURE} {unit}."
    if "not-enough-metric-data" in failures and analysis.baseline.sample.sum is None:
        return "There are too few values for a verdict: the quantile needs more of them on both of its sides."
    if "not-enough-metric-data" in failures:
        return (
            f"There are too few events for a verdict: in each variant about {MIN_EXPECTED} {unit} have to do what the "
            "metric counts, and as many not."
        )
    if "denominator-is-zero" in failures:
        return "There is no verdict: the denominators of a variant add up to 0."
    if "zero-variance" in failures:
        return f"There is no verdict: within the variants, the values of all {unit} are the same."
    return "There are too few data for a verdict."


def _mismatch(sample_ratio: SampleRatio, unit: str) -> Reason:
    detail = (
        f"The {unit} exposed to each variant do not match the planned split ({format_p_value(sample_ratio.p_value)}): "
        f"some variants lose or gain {unit}, and no figure can be trusted until the cause is found."
    )
    return Reason("sample_ratio_mismatch", None, detail)


def _missing(primary: DecidedMetric | None) -> Reason:
    if primary is None:
        return Reason("no_metric", None, "The experiment has no target metric.")
    return Reason("metric_not_analysed", primary.id, primary.detail)


def _reasons(standings: Sequence[Standing]) -> list[Reason]:
    """Return what is known of each variant."""
    reasons = []
    for one in standings:
        if one.is_better or one.is_worse:
            word, code = ("better", "metric_improved") if one.is_better else ("worse", "metric_declined")
            detail = f"{one.key} is {word} than the baseline in {one.metric.name}, and that is significant."
            reasons.append(Reason(code, one.metric.id, detail))
        for guardrail in one.harmed:
            detail = (
                f"{one.key} is worse than the baseline in {guardrail.name} by more than the "
                f"{format_chosen_share(guardrail.role.margin)} allowed."
            )
            reasons.append(Reason("guardrail_harmed", guardrail.id, detail))
        for guardrail in one.open:
            margin = format_chosen_share(guardrail.role.margin)
            detail = f"Whether {one.key} harms {guardrail.name} by more than {margin} is open."
            unknown = f" {guardrail.detail}" if guardrail.analysis is None else ""
            reasons.append(Reason("guardrail_open", guardrail.id, f"{detail}{unknown}"))
    return reasons


def _write_left(progress: Progress) -> str:
    if progress.takes_too_long:
        return ": more than ten years at this pace"
    left = progress.days_left
    if not left:
        return ""
    if left > _DAYS_OF_TWO_YEARS:
        return f", for about {left / 365:.0f} more years at this pace"
    return f", for about {left} more day{'s' if left > 1 else ''} at this pace"
