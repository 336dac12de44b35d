"""The words of a decision: the one place that says for API, pages and reports what is recommended, and why."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from app.analysis.conclusion import conclude
from app.common.number_texts import format_chosen_share, format_p_value
from app.experiments.results.schemas import FunnelResultsRead, TrendResultsRead
from app.experiments.scorecard.counting import CountedMetric
from app.experiments.scorecard.decision import Decision
from app.experiments.scorecard.schemas import Basis, DecisionRuleRead
from app.statistics.frequentist.multiplicity import Correction
from app.statistics.frequentist.sample_ratio import SampleRatio
from app.statistics.results import Analysis, AnalysisConfig

_WITHOUT_FIGURES: Final = {"blocked", "wait"}
_RULES: Final[Mapping[Basis, str]] = {
    "anytime_valid": "anytime-valid p-values and intervals, which hold however often they are looked at",
    "p_value": "p-values and confidence intervals, which hold for one look at a time that was fixed before",
    "posterior": "the posterior distribution, by its tails and credible intervals, for one look",
}


_CORRECTIONS: Final[Mapping[Correction, str]] = {"holm": "Holm", "benjamini_hochberg": "Benjamini and Hochberg"}
_WITHOUT_VERDICT: Final = "not_comparable"
_WHY_NOT: Final[Mapping[str, str]] = {
    "not_enough_exposure": "it asks for 100 {unit} in every variant, by its own count of exposures",
    "low_win_probability": "it asks for a probability of 90% that control, or that the test variants together, are "
    "best",
    "high_loss": "it asks that choosing the best test variant is expected to lose less than one percentage point",
    "high_p_value": "its own comparison of the counts has a p-value of 0.05 or more",
}


def summarize(
    decision: Decision,
    primary: CountedMetric,
    analysis: Analysis | None,
    results: FunnelResultsRead | TrendResultsRead | None,
    unit: str,
    ratio: SampleRatio | None,
) -> str:
    """Return the result, its certainty and the recommendation in words: what API, pages and reports show.

    Where ``results``, the verdict of 2022, differ from the decision, they say why.
    """
    if analysis is None or decision.recommendation in _WITHOUT_FIGURES:
        reasons = [] if decision.recommendation == "decided" else [reason.detail for reason in decision.reasons]
        return " ".join([*reasons, decision.advice])
    is_share, measure = primary.kind == "funnel", "" if primary.wording is None else primary.wording.mean_name
    figures = conclude(analysis, is_share=is_share, measure=measure, ratio=ratio)
    figures = " ".join(filter(None, (figures, _explain_difference(analysis, results, unit))))
    if decision.recommendation == "decided":
        return f"{decision.advice} What the data say: {figures}"
    return f"{figures} {decision.advice}"


def _explain_difference(analysis: Analysis, results: FunnelResultsRead | TrendResultsRead | None, unit: str) -> str:
    """Return one sentence where the two verdicts on the target metric differ; else an empty text."""
    decided = [one.decision for one in analysis.variants if one.decision is not None]
    is_significant = any(one.is_significant for one in decided)
    if results is None or results.significance_code == _WITHOUT_VERDICT or results.significant == is_significant:
        return ""
    rule = "The rule of 2022 in `results`" + (", for which more is better," if analysis.goal == "decrease" else "")
    if not results.significant:
        why = _WHY_NOT.get(results.significance_code, "its last check failed").format(unit=unit)
        return f"{rule} does not call the difference significant: {why}."
    adjusted = [one.adjusted for one in decided if one.adjusted is not None]
    evidence = f" ({format_p_value(min(adjusted))})" if adjusted else ""
    basis = (
        f"anytime-valid{evidence}, asks for more evidence because it holds however often the data are looked at"
        if analysis.config.is_sequential
        else f"{analysis.config.method}{evidence}, asks for more evidence"
    )
    return f"{rule} calls the difference significant, for one look at the end; the rule that decides here, {basis}."


def write_rule(config: AnalysisConfig, test_variants: int) -> DecisionRuleRead:
    """Return the rule that decides, where the baseline is compared with some number of test variants."""
    by_method: Basis = "p_value" if config.method == "frequentist" else "posterior"
    basis: Basis = "anytime_valid" if config.is_sequential else by_method
    correction = config.correction_of(test_variants)
    over = f"{test_variants} comparisons with the baseline" if config.correction is None else "all comparisons"
    corrected = "" if correction == "none" else f", corrected for {over} ({_CORRECTIONS[correction]})"
    cautious = cautious_config(config, test_variants)
    if cautious is not config:
        corrected += f"; margins are held against intervals at {format_chosen_share(cautious.confidence_level)}"
    return DecisionRuleRead(
        basis=basis,
        confidence_level=config.confidence_level,
        multiple_testing=correction,
        detail=f"Decided by {_RULES[basis]}, at {format_chosen_share(config.confidence_level)}{corrected}.",
    )


def cautious_config(config: AnalysisConfig, test_variants: int) -> AnalysisConfig:
    """Return the configuration of the intervals that margins are held against.

    A variant that is harmless by chance is the likelier the more there are. Intervals have no step-down correction as
    p-values have: theirs is Bonferroni's, a level for each that holds for all together.
    """
    if test_variants < 2 or config.correction_of(test_variants) == "none":  # several
        return config
    return replace(config, confidence_level=1 - config.alpha / test_variants)
