"""The reasons why figures of a variant are unreliable or missing."""

from collections.abc import Iterator

from app.statistics.posterior_analysis import is_comparable
from app.statistics.posthog_2022.significance import MIN_EXPOSURE
from app.statistics.results import Failure, VariantAnalysis
from app.statistics.variants import CountVariant, FunnelVariant, MetricVariant, QuantileVariant, RatioVariant

MIN_EXPECTED = 5  # with fewer expected events the normal approximation of a rate does not hold


def failures_of(
    one: VariantAnalysis, baseline: VariantAnalysis, own: MetricVariant, other: MetricVariant
) -> tuple[Failure, ...]:
    """Return what is wrong with a variant or its comparison; ``own`` are its counts, ``other`` the baseline's."""
    return (*_of_data(one, own, other), *_of_comparison(one, baseline))


def _of_data(one: VariantAnalysis, own: MetricVariant, other: MetricVariant) -> Iterator[Failure]:
    sample = one.sample
    if sample.number_of_samples < MIN_EXPOSURE:
        yield "not-enough-exposures"
    if _has_too_few_values(own) or (not one.is_baseline and _expects_too_few(other, own)):
        yield "not-enough-metric-data"
    if isinstance(own, RatioVariant) and own.number_of_samples and not own.denominator_sum:
        yield "denominator-is-zero"
    elif sample.mean is not None and sample.variance is not None and not is_comparable(sample):
        yield "out-of-range"
    elif sample.posterior is None and sample.number_of_samples >= 2 and not _has_too_few_values(own):
        yield "zero-variance"
    if one.is_baseline and sample.mean is not None and sample.mean <= 0:
        yield "baseline-mean-is-zero" if sample.mean == 0 else "baseline-mean-is-negative"


def _of_comparison(one: VariantAnalysis, baseline: VariantAnalysis) -> Iterator[Failure]:
    """Yield what the figures themselves tell."""
    comparable = is_comparable(one.sample) and is_comparable(baseline.sample)
    if comparable and one.probability_best is None and one.sample.posterior is not None:
        yield "posteriors-not-comparable"
    relative = one.relative_difference
    if relative.estimate is not None and one.sample.posterior is not None:
        intervals = (relative.credible_interval, relative.confidence_interval, relative.sequential_interval)
        if any(interval is None for interval in intervals):
            yield "relative-interval-unbounded"


def _has_too_few_values(variant: MetricVariant) -> bool:
    return isinstance(variant, QuantileVariant) and variant.interval is None


def _expects_too_few(baseline: MetricVariant, test: MetricVariant) -> bool:
    """Whether, at equal rates, either variant would expect fewer than five events, conversions or failures."""
    if isinstance(baseline, FunnelVariant) and isinstance(test, FunnelVariant):
        sizes: tuple[float, float] = (baseline.total, test.total)
        events = baseline.success_count + test.success_count
        rarer = min(events, baseline.total + test.total - events)
    elif isinstance(baseline, CountVariant) and isinstance(test, CountVariant):
        sizes, rarer = (baseline.exposure, test.exposure), baseline.count + test.count
    else:
        return False
    return sum(sizes) == 0 or min(sizes) / sum(sizes) * rarer < MIN_EXPECTED
