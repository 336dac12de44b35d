"""What pages say of an analyzed metric: what its figures are, whether they say anything, and how they are written."""

from collections.abc import Callable
from typing import Final

from app.analysis.schemas import AnalysisRead, Ends, VariantAnalysisRead
from app.common import number_texts
from app.common.nouns import capitalized
from app.experiments.scorecard.schemas import MetricAnalysisRead

_TOO_FEW: Final = frozenset({"not-enough-exposures", "not-enough-metric-data"})


def is_conversion_rate(analysis: AnalysisRead) -> bool:
    """Whether the means of a metric are shares of persons or groups."""
    return analysis.metric_type == "funnel"


def lacks_data(variant: VariantAnalysisRead) -> bool:
    """Whether a variant has too few persons or events for its figures to say anything."""
    return bool(_TOO_FEW.intersection(variant.validation_failures))


def lacks_comparison(analysis: AnalysisRead, variant: VariantAnalysisRead) -> bool:
    """Whether a variant cannot be compared with the baseline, because one of both lacks data."""
    baseline = analysis.stats_config.baseline_variant_key
    return lacks_data(variant) or any(lacks_data(one) for one in analysis.variants if one.key == baseline)


def lacks_ranking(analysis: AnalysisRead) -> bool:
    """Whether there are variants without enough data, so that it is not known which one is best."""
    return any(map(lacks_data, analysis.variants))


def name_measure(metric: MetricAnalysisRead) -> str:
    """Return what the means of an analyzed metric are, in a few words; snapshots from before do not have it."""
    is_share = metric.analysis is not None and is_conversion_rate(metric.analysis)
    return metric.mean_name or ("conversion rate" if is_share else "mean")


def name_sum(metric: MetricAnalysisRead) -> str:
    """Return what the sums of an analyzed metric are, as the heading of a column."""
    return capitalized(metric.sum_name or "sum")


def describe_counts(metric: MetricAnalysisRead, unit: str) -> list[str]:
    """Return how a typed metric was counted, in sentences: who is left out, and what was capped."""
    if metric.analysis is None or metric.exposed is None:
        return []
    found = []
    analyzed = {one.key: int(one.number_of_samples) for one in metric.analysis.variants}
    waiting = {key: exposed - analyzed.get(key, 0) for key, exposed in metric.exposed.items()}
    if any(waiting.values()):
        why = (
            "they did not start, or their window is not over"
            if metric.metric_type == "retention"
            else ("their conversion window is not over")
        )
        left_out = ", ".join(f"{count:,} of {metric.exposed[key]:,} in {key}" for key, count in waiting.items())
        found.append(f"Exposed {unit} that are left out, because {why}: {left_out}.")
    for name, capped in (
        ("Values", metric.capped),
        ("Values of the numerator", metric.numerator_capped),
        ("Values of the denominator", metric.denominator_capped),
    ):
        if capped is not None and capped.lower is not None:
            found.append(f"{name} below {capped.lower:,.6g} count as that ({unit}: {capped.persons_below:,}).")
        if capped is not None and capped.upper is not None:
            found.append(f"{name} above {capped.upper:,.6g} count as that ({unit}: {capped.persons_above:,}).")
    return found


def format_level(analysis: AnalysisRead) -> str:
    return number_texts.format_chosen_share(analysis.stats_config.confidence_level)


def format_interval(ends: Ends | None, write: Callable[[float], str]) -> str:
    return number_texts.NOTHING if ends is None else f"{write(ends[0])} to {write(ends[1])}"


def choose_difference_format(analysis: AnalysisRead) -> Callable[[float | None], str]:
    """Return what writes an absolute difference with its sign, of shares in percentage points."""
    is_share = is_conversion_rate(analysis)

    def write(value: float | None) -> str:
        if value is None:
            return number_texts.NOTHING
        text = f"{number_texts.format_number(100 * value)} points" if is_share else number_texts.format_number(value)
        return f"+{text}" if value > 0 else text

    return write


def cut_change(analysis: AnalysisRead, ends: Ends | None) -> Ends | None:
    """Return an interval of a relative change without what is impossible: shares neither fall below 0 nor exceed 1."""
    if ends is None or not is_conversion_rate(analysis):
        return ends
    baseline = next(one for one in analysis.variants if one.key == analysis.stats_config.baseline_variant_key)
    highest = 1 / baseline.mean - 1 if baseline.mean else float("inf")
    return max(ends[0], -1.0), min(ends[1], highest)
