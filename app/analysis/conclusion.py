"""States in words which variant leads, and whether the difference is significant."""

from app.common.number_texts import choose_format, format_change, format_p_value, format_probability
from app.statistics.frequentist.sample_ratio import SampleRatio
from app.statistics.results import Analysis, Decision, VariantAnalysis


def conclude(analysis: Analysis, *, is_share: bool, measure: str = "", ratio: SampleRatio | None = None) -> str:
    """Return sentences: why not to trust the figures if that is so, the leading variant, and its significance.

    Where there are too few data for a verdict on it, no figures are given. With ``is_share`` means are written in
    percent. ``measure`` names the means, and so their unit. ``ratio`` tests the split of persons who were not all
    analyzed; without it, that of the samples counts.
    """
    leader = analysis.leader
    ratio = ratio or analysis.sample_ratio
    sentences = []
    if ratio is not None and ratio.is_mismatch:
        sentences.append(
            f"Do not trust these figures yet: the samples are not split as planned ({format_p_value(ratio.p_value)})."
        )
    sentences += [
        f"Do not trust these figures yet: {one.sample.key} differed from {analysis.baseline.sample.key} before the "
        f"exposure ({format_p_value(one.covariate_p_value)})."
        for one in analysis.variants
        if "pre-exposure-bias" in one.failures
    ]
    if leader is None:
        return " ".join([*sentences, "There are not enough data to compare the variants."])
    if _lacks_data(leader, analysis):
        return " ".join([*sentences, _significance(leader, analysis)])
    subject = f"{leader.sample.key} leads{f' in {measure}' if measure else ''}"
    text = f"{subject}{' (less is better)' if analysis.goal == 'decrease' else ''}{_chance(leader)}"
    comparison = _comparison(leader, analysis.baseline, is_share=is_share)
    return " ".join([*sentences, f"{text}{comparison}.", _significance(leader, analysis)])


def _lacks_data(leader: VariantAnalysis, analysis: Analysis) -> bool:
    """Whether there are too few data for a verdict on the leader; on a leading baseline, for all verdicts."""
    decided = analysis.variants if leader.is_baseline else (leader,)
    codes = {one.decision.code for one in decided if one.decision is not None}
    return codes <= {"not_enough_exposure", "not_enough_data"}


def _chance(leader: VariantAnalysis) -> str:
    if leader.probability_best is None:
        return ""
    return f", being the best with a probability of {format_probability(leader.probability_best)}"


def _comparison(leader: VariantAnalysis, baseline: VariantAnalysis, *, is_share: bool) -> str:
    if leader.is_baseline:
        return ""
    relative, write = leader.relative_difference.estimate, choose_format(is_share=is_share)
    change = f" ({format_change(relative)})" if relative is not None else ""
    return (
        f": {write(leader.sample.mean)} against {write(baseline.sample.mean or 0.0)} of {baseline.sample.key}{change}"
    )


def _significance(leader: VariantAnalysis, analysis: Analysis) -> str:
    if leader.decision is not None:
        return f"{_VERDICTS[leader.decision.code]}{_evidence(leader.decision, analysis)}."
    worse = [one.sample.key for one in analysis.variants if one.decision is not None and one.decision.is_significant]
    if worse:
        return f"It is significantly better than {' and '.join(worse)}: keep it."
    codes = {one.decision.code for one in analysis.variants if one.decision is not None}
    if len(codes) == 1:
        return f"{_VERDICTS[codes.pop()]}."
    return "No difference from it is significant."


_VERDICTS = {
    "significant": "The difference is significant",
    "not_enough_exposure": "There are too few samples for a verdict: each variant needs 100",
    "not_enough_data": "There are too few data for a verdict",
    "low_win_probability": "The difference is not significant",
    "high_p_value": "The difference is not significant",
}


_CORRECTIONS = {
    "none": "",
    "holm": " after Holm's correction",
    "benjamini_hochberg": " after the correction of Benjamini and Hochberg",
}


def _evidence(decision: Decision, analysis: Analysis) -> str:
    if decision.adjusted is None or decision.code not in {"significant", "low_win_probability", "high_p_value"}:
        return ""
    # One that was asked for is made over the comparisons of all metrics, which are not known here.
    comparisons = "" if analysis.config.correction else f" for {len(analysis.variants) - 1} comparisons"
    correction = "" if analysis.correction == "none" else f"{_CORRECTIONS[analysis.correction]}{comparisons}"
    return f" ({format_p_value(decision.adjusted)}{correction})"
