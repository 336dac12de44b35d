"""States in words which variant leads, and whether the difference is significant."""

from app.statistics.results import Analysis, Decision, VariantAnalysis


def conclude(analysis: Analysis, *, lowest_leads: bool = False) -> str:
    """Return sentences: why not to trust the figures if that is so, the leading variant, and its significance.

    With ``lowest_leads`` the variant with the lowest mean leads: for metrics where less is better.
    """
    leader = lowest(analysis) if lowest_leads else analysis.leader
    ratio = analysis.sample_ratio
    sentences = []
    if ratio is not None and ratio.is_mismatch:
        sentences.append(
            f"Do not trust these figures yet: the samples are not split as planned (p = {ratio.p_value:.2g})."
        )
    sentences += [
        f"Do not trust these figures yet: {one.sample.key} differed from {analysis.baseline.sample.key} before the "
        f"exposure (p = {one.covariate_p_value:.2g})."
        for one in analysis.variants
        if "pre-exposure-bias" in one.failures
    ]
    if leader is None:
        return " ".join([*sentences, "There are not enough data to compare the variants."])
    text = f"{leader.sample.key} is lowest" if lowest_leads else _highest(leader)
    return " ".join([*sentences, f"{text}{_comparison(leader, analysis.baseline)}.", _significance(leader, analysis)])


def lowest(analysis: Analysis) -> VariantAnalysis | None:
    """Return the variant with the lowest mean, or the baseline if it is as low."""
    known = [variant for variant in analysis.variants if variant.sample.mean is not None]
    if len(known) < 2:
        return None
    return min(known, key=lambda one: (one.sample.mean or 0.0, not one.is_baseline))


def _highest(leader: VariantAnalysis) -> str:
    text = f"{leader.sample.key} leads"
    if leader.probability_best is not None:
        text += f", being the best with a probability of {_percent(leader.probability_best)}"
    return text


def _comparison(leader: VariantAnalysis, baseline: VariantAnalysis) -> str:
    if leader.is_baseline:
        return ""
    relative = leader.relative_difference.estimate
    change = f" ({relative:+.1%})" if relative is not None else ""
    return f": {leader.sample.mean:.4g} against {baseline.sample.mean or 0:.4g} of {baseline.sample.key}{change}"


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
    return f" (p = {decision.adjusted:.2g}{_CORRECTIONS[analysis.correction]})"


def _percent(probability: float) -> str:
    """Return a probability in percent, never rounded up to certainty."""
    if probability > 0.9999:
        return "more than 99.99 %"
    return f"{probability * 100:.2f} %"
