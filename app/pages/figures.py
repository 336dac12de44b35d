"""Data of an experiment's charts: for the script that draws them, and as tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any, TypeAlias, TypeVar

from app.analysis.schemas import AnalysisRead, Ends, VariantAnalysisRead
from app.common.nouns import capitalized
from app.experiments.exposures.schemas import SEVERAL, ExposuresRead
from app.experiments.results.schemas import FunnelResultsRead, TrendResultsRead
from app.experiments.scorecard.schemas import MetricAnalysisRead, TimeseriesRead
from app.metrics.queries.models import PERSONS
from app.pages.densities import Vector, density, posterior_of
from app.pages.formatting import NOTHING, format_change, format_number, format_percentage

MAX_BARS = 120

Json: TypeAlias = Any  # what the script reads
Cells: TypeAlias = Sequence[str]
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Figure:
    """A chart. ``kind`` selects how the script draws ``data``; ``rows`` hold the same data as a table."""

    kind: str
    title: str
    description: str
    heading: Cells
    rows: Sequence[Cells]
    data: Json


def build_densities_chart(metric: MetricAnalysisRead, unit: str) -> Figure | None:
    """Build the chart of each variant's posterior density."""
    analysis = metric.analysis
    if analysis is None:
        return None
    curves = []
    for variant in analysis.variants:
        posterior = posterior_of(analysis, variant) if variant.number_of_samples else None
        if posterior is not None:
            x, y = density(posterior)
            curves.append({"variant": variant.key, "mean": posterior.mean, "x": _short(x), "y": _short(y)})
    if not curves:
        return None
    write, measure = _writer(analysis), name_measure(metric, unit)
    return Figure(
        kind="densities",
        title=f"Where the {measure} probably lies",
        description=f"The higher the curve, the more probable that {measure}. The less the curves overlap, the "
        "more certain it is which variant is better.",
        heading=("Variant", "Probable mean", f"{format_level(analysis)} credible interval"),
        rows=[
            (one.key, write(one.posterior_mean), format_interval(one.credible_interval, write))
            for one in analysis.variants
        ],
        data={"isShare": is_conversion_rate(analysis), "measure": measure, "curves": curves},
    )


def build_differences_chart(metrics: Sequence[MetricAnalysisRead]) -> Figure | None:
    """Build the chart of how every variant differs from the baseline, in every metric."""
    rows = [
        (index, metric, variant)
        for index, metric in enumerate(metrics)
        for variant in _compared(metric.analysis)
        if variant.delta_relative is not None
    ]
    analysis = next((metric.analysis for metric in metrics if metric.analysis is not None), None)
    if not rows or analysis is None:
        return None
    baseline, level = analysis.stats_config.baseline_variant_key, format_level(analysis)
    return Figure(
        kind="differences",
        title=f"Change against {baseline}",
        description=f"Dots are the observed changes. The thick bar is the {level} credible interval, valid for one "
        "look; the thin bar is valid however often you look. A thin bar that excludes zero is significant.",
        heading=("Metric", "Variant", "Change", "Credible interval", "Anytime interval"),
        rows=[
            (
                _named(metric, index),
                variant.key,
                format_change(variant.delta_relative),
                format_interval(variant.delta_relative_credible_interval, format_change),
                format_interval(variant.relative_sequential_interval, format_change),
            )
            for index, metric, variant in rows
        ],
        data={
            "baseline": baseline,
            "rows": [
                {
                    "metric": _named(metric, index),
                    "variant": variant.key,
                    "change": variant.delta_relative,
                    "credible": variant.delta_relative_credible_interval,
                    "anytime": variant.relative_sequential_interval,
                }
                for index, metric, variant in rows
            ],
        },
    )


def build_timeseries_chart(timeseries: TimeseriesRead) -> Figure | None:
    """Build the chart of the effect by day, with its interval on each day."""
    rows = [
        (day, variant)
        for day, analysis in timeseries.timeseries.items()
        for variant in _compared(analysis)
        if variant.delta_relative is not None
    ]
    if not rows:
        return None
    baseline = next(iter(timeseries.timeseries.values())).stats_config.baseline_variant_key
    return Figure(
        kind="days",
        title="The change over time",
        description="Lines are the change observed up to the end of each day; bands are its anytime-valid interval, "
        "which holds although the data were looked at before. A band that excludes zero is significant.",
        heading=("Day", "Variant", "Change", "Anytime interval"),
        rows=[
            (
                day,
                variant.key,
                format_change(variant.delta_relative),
                format_interval(variant.relative_sequential_interval, format_change),
            )
            for day, variant in rows
        ],
        data={
            "baseline": baseline,
            "rows": [
                {
                    "day": day,
                    "variant": variant.key,
                    "change": variant.delta_relative,
                    "band": variant.relative_sequential_interval,
                }
                for day, variant in rows
            ],
        },
    )


def build_exposures_chart(exposures: ExposuresRead, planned: Mapping[str, Sequence[float]]) -> Figure | None:
    """Build the chart of new exposures by day, with the persons that the split predicts for each variant and day."""
    series = [one for one in exposures.timeseries if one.variant != SEVERAL]
    if not any(sum(one.exposure_counts) for one in series):
        return None
    unit = exposures.unit
    step = -(-len(series[0].days) // MAX_BARS)
    days = series[0].days[::step]
    counts = {one.variant: _sums(one.exposure_counts, step) for one in series}
    predicted = [_sums(planned[one.variant], step) for one in series]
    whole = sum(map(sum, predicted))
    shares = [sum(of_variant) / whole if whole else 0.0 for of_variant in predicted]
    return Figure(
        kind="exposures",
        title=f"New {unit} by day" if step == 1 else f"New {unit} in {step} days",
        description=f"Bars are the {unit} that were shown each variant for the first time. Lines across them show "
        "where the colors would meet under the planned split.",
        heading=(
            "Day" if step == 1 else "From",
            *(f"{one.variant} ({format_percentage(share)} planned)" for one, share in zip(series, shares, strict=True)),
        ),
        rows=[(day, *(f"{counts[one.variant][index]:,}" for one in series)) for index, day in enumerate(days)],
        data={
            "variants": [one.variant for one in series],
            "step": step,
            "unit": unit,
            "bars": [
                {"day": day, "variant": variant, "count": sums[index]}
                for variant, sums in counts.items()
                for index, day in enumerate(days)
            ],
            "planned": [
                {"day": day, "count": bound}
                for day, column in zip(days, zip(*predicted, strict=True), strict=True)
                if sum(column)
                for bound in list(accumulate(column))[:-1]
            ],
        },
    )


def build_funnel_chart(
    results: FunnelResultsRead | TrendResultsRead | None, unit: str, target: MetricAnalysisRead
) -> Figure | None:
    """Build the chart of how many persons or groups that entered reached each step."""
    if isinstance(results, FunnelResultsRead):
        found = (
            _Bar(index + 1, step.custom_name or step.name, step.breakdown_value[0], step.count, steps[0].count)
            for steps in results.insight
            for index, step in enumerate(steps)
        )
    elif target.step_names and target.step_counts:
        found = (
            _Bar(index + 1, name, variant, counts[index], counts[0])
            for variant, counts in target.step_counts.items()
            for index, name in enumerate(target.step_names)
        )
    else:
        return None
    bars = sorted(found, key=lambda bar: bar.step)  # the variants of a step stay in their order
    return Figure(
        kind="funnel",
        title="The funnel",
        description=f"The share of the {unit} that entered and reached each step.",
        heading=("Step", "Variant", capitalized(unit), "Share of all who entered"),
        rows=[(f"{bar.step}. {bar.name}", bar.variant, f"{bar.count:,}", format_percentage(bar.share)) for bar in bars],
        data={"bars": [{**asdict(bar), "share": bar.share} for bar in bars]},
    )


@dataclass(frozen=True)
class _Bar:
    """A variant at a step of a funnel: how many persons reached it, of all who entered."""

    step: int
    name: str
    variant: str
    count: int
    entered: int

    @property
    def share(self) -> float:
        return self.count / self.entered if self.entered else 0.0


def is_conversion_rate(analysis: AnalysisRead) -> bool:
    """Whether the means of a metric are shares of persons or groups."""
    return analysis.metric_type == "funnel"


def name_measure(metric: MetricAnalysisRead, unit: str) -> str:
    """Return what the means of an analyzed metric are, in two words."""
    kind = "" if metric.analysis is None else metric.analysis.metric_type
    if kind == "funnel" and metric.metric_type not in {None, "funnel"}:  # a share that is not a conversion
        return "share retained" if metric.metric_type == "retention" else f"share of {unit}"
    mean = "mean per person" if unit == PERSONS else f"mean over {unit}"
    return {"funnel": "conversion rate", "ratio": "ratio", "quantile": "quantile"}.get(kind, mean)


def name_sum(metric: MetricAnalysisRead) -> str:
    """Return what the sums of an analyzed metric are, as the heading of a column."""
    if metric.analysis is None or not is_conversion_rate(metric.analysis):
        return "Sum" if metric.metric_type != "ratio" else "Sum of the numerator"
    return {"retention": "Came back", "mean": "With it"}.get(metric.metric_type or "", "Converted")


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


def _sums(counts: Sequence[Number], step: int) -> list[Number]:
    return [sum(counts[start : start + step]) for start in range(0, len(counts), step)]


def format_level(analysis: AnalysisRead) -> str:
    return f"{100 * analysis.stats_config.confidence_level:.4g}%"


def format_interval(ends: Ends | None, write: Callable[[float], str]) -> str:
    return NOTHING if ends is None else f"{write(ends[0])} to {write(ends[1])}"


def _writer(analysis: AnalysisRead) -> Callable[[float | None], str]:
    return format_percentage if is_conversion_rate(analysis) else format_number


def _compared(analysis: AnalysisRead | None) -> list[VariantAnalysisRead]:
    """Return the variants that are compared with the baseline."""
    if analysis is None:
        return []
    return [one for one in analysis.variants if one.key != analysis.stats_config.baseline_variant_key]


def _named(metric: MetricAnalysisRead, index: int) -> str:
    return metric.name if index else "Target metric"


def _short(values: Vector) -> list[float]:
    """Return numbers with as many digits as a chart shows."""
    return [float(f"{value:.6g}") for value in values.tolist()]
