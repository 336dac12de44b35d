"""Analyzes the counts of a request: it neither stores nor reads anything."""

import math
from collections.abc import Sequence

from app.analysis.conclusion import conclude
from app.analysis.config_schemas import SequentialRead, StatsConfig, StatsConfigRead
from app.analysis.count_schemas import (
    AnalyzeRequest,
    AnyAnalyze,
    CountAnalyze,
    FunnelAnalyze,
    FunnelVariantCounts,
    MeanVariantCounts,
    QuantileAnalyze,
    QuantileVariantCounts,
    RatioAnalyze,
    RatioVariantCounts,
)
from app.analysis.quantities import COVARIATE_OF_RATIO
from app.analysis.schemas import AnalysisRead, MetricType, SampleRatioRead, VariantAnalysisRead
from app.common.errors import ValidationFailed
from app.statistics.analysis import analyze_metric
from app.statistics.estimates import Interval
from app.statistics.frequentist.sample_ratio import SampleRatio
from app.statistics.results import Analysis, AnalysisConfig, VariantAnalysis
from app.statistics.variants import (
    CountVariant,
    Covariate,
    FunnelVariant,
    MeanVariant,
    MetricVariant,
    QuantileVariant,
    RatioCovariate,
    RatioVariant,
)


def analyze(request: AnalyzeRequest) -> AnalysisRead:
    """Analyze the counts of a request.

    Raises
    ------
    ValidationFailed
        When the counts contradict each other.
    """
    body = request.root
    try:
        analysis = analyze_metric(read_variants(body), read_config(body.stats_config), body.expected_split, body.goal)
    except ValueError as error:
        raise ValidationFailed(f"{error}") from error
    return write_analysis(body.metric_type, analysis)


def read_config(config: StatsConfig) -> AnalysisConfig:
    return AnalysisConfig(
        method=config.method,
        confidence_level=config.confidence_level,
        baseline=config.baseline_variant_key,
        is_sequential=config.sequential.enabled,
        tuning=config.sequential.tuning_parameter,
        correction=config.multiple_testing,
    )


def read_variants(body: AnyAnalyze) -> Sequence[MetricVariant]:
    """Return the counts as variants for the statistics.

    Raises
    ------
    ValueError
        When a variant's counts are impossible.
    """
    if isinstance(body, FunnelAnalyze):
        return [
            FunnelVariant(one.key, one.success_count, one.failure_count, _read_covariate(one)) for one in body.variants
        ]
    if isinstance(body, CountAnalyze):
        return [CountVariant(**variant.model_dump()) for variant in body.variants]
    if isinstance(body, RatioAnalyze):
        return [_read_ratio(variant) for variant in body.variants]
    if isinstance(body, QuantileAnalyze):
        return [_read_quantile(variant, body.stats_config.confidence_level) for variant in body.variants]
    return [_read_mean(variant) for variant in body.variants]


def _read_mean(counts: MeanVariantCounts) -> MeanVariant:
    return MeanVariant(counts.key, counts.number_of_samples, counts.sum, counts.sum_squares, _read_covariate(counts))


def _read_covariate(counts: MeanVariantCounts | FunnelVariantCounts) -> Covariate | None:
    sums = (counts.covariate_sum, counts.covariate_sum_squares, counts.main_covariate_sum_product)
    if sums[0] is None or sums[1] is None or sums[2] is None:
        return None
    return Covariate(sums[0], sums[1], sums[2])


def _read_ratio(counts: RatioVariantCounts) -> RatioVariant:
    sums = [getattr(counts, name) for name in COVARIATE_OF_RATIO]
    covariate = None if None in sums else RatioCovariate(*sums)
    return RatioVariant(
        counts.key,
        counts.number_of_samples,
        counts.sum,
        counts.sum_squares,
        counts.denominator_sum,
        counts.denominator_sum_squares,
        counts.numerator_denominator_sum_product,
        covariate,
    )


def _read_quantile(counts: QuantileVariantCounts, confidence: float) -> QuantileVariant:
    count = counts.number_of_samples if counts.number_of_values is None else counts.number_of_values
    values = (counts.value, counts.lower, counts.upper)
    return QuantileVariant(counts.key, counts.number_of_samples, count, *values, confidence)


def write_analysis(metric_type: MetricType, analysis: Analysis, exposed: SampleRatio | None = None) -> AnalysisRead:
    """Return an analysis in its documented form; ``exposed`` tests the split of the persons who may be analyzed."""
    ratio = analysis.sample_ratio
    leader = analysis.leader
    return AnalysisRead(
        metric_type=metric_type,
        stats_config=StatsConfigRead(
            method=analysis.config.method,
            confidence_level=analysis.config.confidence_level,
            sequential=SequentialRead(enabled=analysis.config.is_sequential, tuning_parameter=analysis.config.tuning),
            baseline_variant_key=analysis.baseline.sample.key,
            multiple_testing=analysis.correction,
        ),
        goal=analysis.goal,
        leader=leader.sample.key if leader else None,
        conclusion=conclude(analysis, is_share=metric_type == "funnel", ratio=exposed),
        variants=[_write_variant(variant) for variant in analysis.variants],
        sample_ratio_mismatch=None if ratio is None else write_sample_ratio(ratio),
    )


def write_sample_ratio(ratio: SampleRatio) -> SampleRatioRead:
    return SampleRatioRead(
        expected=dict(ratio.expected),
        chi_square=_number(ratio.chi_square),
        p_value=ratio.p_value,
        mismatch=ratio.is_mismatch,
    )


def _write_variant(variant: VariantAnalysis) -> VariantAnalysisRead:
    sample, adjustment, decision = variant.sample, variant.sample.adjustment, variant.decision
    absolute, relative = variant.difference, variant.relative_difference
    return VariantAnalysisRead(
        key=sample.key,
        number_of_samples=sample.number_of_samples,
        sum=sample.sum,
        sum_squares=sample.sum_squares,
        order_statistic_interval=_ends(sample.order_statistics),
        delta_order_statistic_interval=_ends(variant.order_statistic_difference),
        mean=_number(sample.mean),
        unadjusted_mean=_number(adjustment.unadjusted_mean) if adjustment else None,
        theta=_number(adjustment.theta) if adjustment else None,
        variance_reduction=_number(adjustment.variance_reduction) if adjustment else None,
        covariate_p_value=variant.covariate_p_value,
        posterior_mean=_number(variant.posterior_mean),
        credible_interval=_ends(variant.credible_interval),
        probability_best=variant.probability_best,
        chance_to_win=variant.probability_beats_baseline,
        expected_loss=_number(variant.expected_loss),
        expected_loss_vs_baseline=_number(variant.expected_loss_against_baseline),
        delta=_number(absolute.estimate),
        delta_credible_interval=_ends(absolute.credible_interval),
        confidence_interval=_ends(absolute.confidence_interval),
        sequential_interval=_ends(absolute.sequential_interval),
        delta_relative=_number(relative.estimate),
        delta_relative_credible_interval=_ends(relative.credible_interval),
        relative_confidence_interval=_ends(relative.confidence_interval),
        relative_sequential_interval=_ends(relative.sequential_interval),
        p_value=variant.p_value,
        sequential_p_value=variant.sequential_p_value,
        adjusted_p_value=decision.adjusted if decision else None,
        significant=decision.is_significant if decision else None,
        significance_code=decision.code if decision else None,
        validation_failures=list(variant.failures),
    )


def _number(value: float | None) -> float | None:
    """Return a finite number, or None: JSON has no infinities."""
    return value if value is not None and math.isfinite(value) else None


def _ends(interval: Interval | None) -> Interval | None:
    return interval if interval is not None and all(map(math.isfinite, interval)) else None
