"""Data of an experiment's charts: for the script that draws them, as tables, and as a sentence."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any, Final, TypeAlias, TypeVar

from app.analysis.schemas import AnalysisRead, Ends
from app.common.nouns import capitalized
from app.common.number_texts import NOTHING, choose_format, format_change, format_percentage
from app.experiments.exposures.schemas import SEVERAL, ExposuresRead
from app.experiments.results.schemas import FunnelResultsRead, TrendResultsRead
from app.experiments.scorecard.schemas import MetricAnalysisRead, TimeseriesRead
from app.pages.densities import Vector, density, posterior_of
from app.pages.metric_texts import (
    cut_change,
    format_interval,
    format_level,
    is_conversion_rate,
    lacks_comparison,
    lacks_data,
    name_measure,
)

MAX_BARS = 120
MANY_VARIANTS: Final = 4  # from more on each variant is drawn for itself, over the whole width
_SPOKEN_ROWS: Final = 20

Json: TypeAlias = Any  # what the script reads
Cells: TypeAlias = Sequence[str]
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Figure:
    """A chart.

    Attributes
    ----------
    kind : str
        Selects how the script draws ``data``.
    says : str
        What the picture shows, for people who do not see it.
    rows : sequence of sequence of str
        The same data as a table; members of ``data`` name their row.
    is_wide : bool
        Whether it needs the whole width.
    """

    kind: str
    title: str
    description: str
    says: str
    heading: Cells
    rows: Sequence[Cells]
    data: Json
    is_wide: bool = False


def build_densities_chart(metric: MetricAnalysisRead) -> Figure | None:
    """Build the chart of each variant's posterior density."""
    analysis = metric.analysis
    if analysis is None:
        return None
    curves = []
    for index, variant in enumerate(analysis.variants):
        posterior = None if lacks_data(variant) else posterior_of(analysis, variant)
        if posterior is not None:
            x, y = density(posterior)
            curve = {"variant": variant.key, "mean": posterior.mean, "x": _short(x), "y": _short(y)}
            curves.append({**curve, "row": index})
    if not curves:
        return None
    write, measure = _writer(analysis), name_measure(metric)
    rows = [
        (
            one.key,
            NOTHING if lacks_data(one) else write(one.posterior_mean),
            format_interval(None if lacks_data(one) else one.credible_interval, write),
        )
        for one in analysis.variants
    ]
    return Figure(
        kind="densities",
        title=f"{capitalized(measure)}: what is probable",
        description="The higher a curve, the more probable the value below it. The less the curves overlap, the more "
        "certain it is which variant is better. Dotted lines mark the means of the curves.",
        says=_say(f"{key}: {mean}, probably {interval}" for key, mean, interval in rows),
        heading=("Variant", "Mean of the curve", f"{format_level(analysis)} credible interval"),
        rows=rows,
        data={
            "isShare": is_conversion_rate(analysis),
            "measure": measure.replace("`", ""),
            "baseline": analysis.stats_config.baseline_variant_key,
            "curves": curves,
        },
        is_wide=len(curves) > MANY_VARIANTS,
    )


def build_differences_chart(metrics: Sequence[MetricAnalysisRead]) -> Figure | None:
    """Build the chart of how every variant differs from the baseline, in every metric on an axis of its own."""
    analyzed = [(metric.name, metric.analysis) for metric in metrics if metric.analysis is not None]
    found = [change for name, analysis in analyzed for change in _changes(name, analysis)]
    if not found:
        return None
    config, level = analyzed[0][1].stats_config, format_level(analyzed[0][1])
    rows = [(one.of, one.variant, *one.written) for one in found]
    return Figure(
        kind="differences",
        title=f"Change against {config.baseline_variant_key}",
        description=f"Each metric has an axis of its own. Marks are the observed changes. The thick bar is the {level} "
        "credible interval, valid for one look; the thin bar is valid however often you look. A thin bar that excludes "
        "zero is significant for one comparison.",
        says=_say(f"{name}, {key}: {change}, anytime interval {anytime}" for name, key, change, _, anytime in rows),
        heading=("Metric", "Variant", "Change", "Credible interval", "Anytime interval"),
        rows=rows,
        data={
            "baseline": config.baseline_variant_key,
            "rows": [{"row": index, **asdict(one)} for index, one in enumerate(found)],
        },
        is_wide=len({one.variant for one in found}) >= MANY_VARIANTS,
    )


def build_timeseries_chart(timeseries: TimeseriesRead) -> Figure | None:
    """Build the chart of the effect by day, with its interval on each day."""
    found = [change for day, analysis in timeseries.timeseries.items() for change in _changes(day, analysis)]
    if not found:
        return None
    config, last = next(iter(timeseries.timeseries.values())).stats_config, found[-1].of
    latest = [(one.variant, *one.written) for one in found if one.of == last]
    return Figure(
        kind="days",
        title="The change over time",
        description="Lines are the change observed up to the end of each day; bands are its anytime-valid interval, "
        "which holds although the data were looked at before. A band that excludes zero is significant for one "
        "comparison.",
        says=f"From {found[0].of} to {last}. At the end: "
        + _say(f"{key} {change}, anytime interval {band}" for key, change, _, band in latest),
        heading=("Day", "Variant", "Change", "Anytime interval"),
        rows=[(one.of, one.variant, one.written[0], one.written[2]) for one in found],
        data={
            "baseline": config.baseline_variant_key,
            "rows": [
                {"row": index, "day": one.of, "variant": one.variant, "change": one.change, "band": one.anytime}
                for index, one in enumerate(found)
            ],
        },
        is_wide=len({one.variant for one in found}) >= MANY_VARIANTS,
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
    predicted = {one.variant: _sums(planned[one.variant], step) for one in series}
    whole = sum(map(sum, predicted.values()))
    shares = {key: sum(of_variant) / whole if whole else 0.0 for key, of_variant in predicted.items()}
    return Figure(
        kind="exposures",
        title=f"New {unit} by day" if step == 1 else f"New {unit} in {step} days",
        description=f"Bars are the {unit} that were shown each variant for the first time. Lines across them show "
        + (
            "how many the planned split predicts."
            if len(series) > MANY_VARIANTS
            else "where the colors would meet under the planned split."
        ),
        says=f"From {days[0]} to {days[-1]}: "
        + _say(f"{key} {sum(of):,}, {format_percentage(shares[key])} planned" for key, of in counts.items()),
        heading=(
            "Day" if step == 1 else "From",
            *(f"{key} ({format_percentage(share)} planned)" for key, share in shares.items()),
        ),
        rows=[(day, *(f"{of[index]:,}" for of in counts.values())) for index, day in enumerate(days)],
        data={
            "variants": list(counts),
            "step": step,
            "unit": unit,
            "bars": [
                {"row": index, "day": day, "variant": key, "count": of[index], "planned": predicted[key][index]}
                for key, of in counts.items()
                for index, day in enumerate(days)
            ],
            "planned": [
                {"day": day, "count": bound}
                for day, column in zip(days, zip(*predicted.values(), strict=True), strict=True)
                if sum(column)
                for bound in list(accumulate(column))[:-1]
            ],
        },
        is_wide=len(series) > MANY_VARIANTS,
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
        says=_say(f"step {bar.step}, {bar.name}, {bar.variant}: {format_percentage(bar.share)}" for bar in bars),
        heading=("Step", "Variant", capitalized(unit), "Share of all who entered"),
        rows=[(f"{bar.step}. {bar.name}", bar.variant, f"{bar.count:,}", format_percentage(bar.share)) for bar in bars],
        data={"bars": [{**asdict(bar), "share": bar.share, "row": index} for index, bar in enumerate(bars)]},
        is_wide=len({bar.variant for bar in bars}) > MANY_VARIANTS,
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


def _sums(counts: Sequence[Number], step: int) -> list[Number]:
    return [sum(counts[start : start + step]) for start in range(0, len(counts), step)]


def _writer(analysis: AnalysisRead) -> Callable[[float | None], str]:
    return choose_format(is_share=is_conversion_rate(analysis))


@dataclass(frozen=True)
class _Change:
    """How a variant differs from the baseline: in a metric, or at the end of a day. Intervals hold what is possible."""

    of: str
    variant: str
    change: float
    credible: Ends | None
    anytime: Ends | None

    @property
    def written(self) -> tuple[str, str, str]:
        """The change, its credible interval and its anytime interval."""
        credible, anytime = (format_interval(ends, format_change) for ends in (self.credible, self.anytime))
        return format_change(self.change), credible, anytime


def _changes(of: str, analysis: AnalysisRead) -> list[_Change]:
    """Return the changes that are known well enough to be shown."""
    return [
        _Change(
            of,
            one.key,
            one.delta_relative,
            cut_change(analysis, one.delta_relative_credible_interval),
            cut_change(analysis, one.relative_sequential_interval),
        )
        for one in analysis.variants
        if one.key != analysis.stats_config.baseline_variant_key
        and one.delta_relative is not None
        and not lacks_comparison(analysis, one)
    ]


def _say(parts: Iterable[str]) -> str:
    """Return parts as one sentence, which stays short enough to be listened to."""
    said = list(parts)
    more = f"; and {len(said) - _SPOKEN_ROWS} more, in the table" if len(said) > _SPOKEN_ROWS else ""
    return f"{'; '.join(said[:_SPOKEN_ROWS])}{more}."


def _short(values: Vector) -> list[float]:
    """Return numbers with as many digits as a chart shows."""
    return [float(f"{value:.6g}") for value in values.tolist()]
