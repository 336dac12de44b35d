"""Says in words what a typed metric measures."""

from app.metrics.queries.typed.schemas import (
    ExposureNode,
    FunnelMetric,
    MeanMetric,
    Node,
    QuantileMetric,
    RatioMetric,
    RetentionMetric,
    Source,
    TypedMetric,
)
from app.metrics.queries.wording import MetricWording, ending_with, name_events, per_unit, spell


def describe_typed(metric: TypedMetric, unit: str, *, leaves_out: bool = False) -> MetricWording:
    """Return what a metric measures; ``unit`` is what is compared, in the plural. See ``describe_funnel``."""
    wording = MetricWording(_measure(metric, unit), _name_mean(metric, unit), _name_sum(metric))
    end = ""
    if metric.conversion_window is not None:
        end = f", within {spell(metric.conversion_window, metric.conversion_window_unit or 'day')} of the exposure"
    elif not isinstance(metric, RetentionMetric):
        end = ", from the exposure on"
    return ending_with(wording, f"{end}{', without test accounts' if leaves_out else ''}")


def name_steps(metric: TypedMetric) -> list[str] | None:
    """Return the names of the steps that are counted; None where a metric has none."""
    match metric:
        case FunnelMetric(funnel_order_type="ordered"):
            return ["exposure", *map(_plain, metric.series)]
        case FunnelMetric():
            return ["exposure", *(f"any {count} of the steps" for count in range(1, len(metric.series) + 1))]
        case RetentionMetric(start_event=ExposureNode()):
            return ["exposure", _plain(metric.completion_event)]
        case RetentionMetric(start_event=Node() as start):
            return [_plain(start), _plain(metric.completion_event)]
        case _:
            return None


def _measure(metric: TypedMetric, unit: str) -> str:  # noqa: PLR0911  # one a type
    match metric:
        case MeanMetric(threshold=None, source=Source(math="dau")):
            return f"share of exposed {unit} with {_named(metric.source)}"
        case MeanMetric(threshold=None):
            return f"{_amount(metric.source)}, a mean over exposed {unit}"
        case MeanMetric():
            return f"share of exposed {unit} whose {_amount(metric.source)} is at least {metric.threshold:g}"
        case QuantileMetric():
            return _measure_quantile(metric, unit)
        case FunnelMetric():
            joined = (", then " if metric.funnel_order_type == "ordered" else " and ").join(map(_named, metric.series))
            return f"share of exposed {unit} with {joined}"
        case RatioMetric():
            return f"{_amount(metric.numerator)} of all exposed {unit}, divided by {_amount(metric.denominator)}"
        case RetentionMetric():
            start = "the exposure" if isinstance(metric.start_event, ExposureNode) else _named(metric.start_event)
            first, last = metric.retention_window_start, metric.retention_window_end
            span = f"{first} to {spell(last, metric.retention_window_unit)}"
            return f"share of {unit} with {_named(metric.completion_event)} {span} after {start}"


def _measure_quantile(metric: QuantileMetric, unit: str) -> str:
    if metric.quantile_type == "event":
        of, over = f"`{metric.source.math_property}` of {_named(metric.source)}", f"the events of exposed {unit}"
    else:
        of, over = _amount(metric.source), f"exposed {unit}{' with other than 0' if metric.ignore_zeros else ''}"
    return f"quantile {metric.quantile_level:g} of {of}, over {over}"


def _amount(source: Source) -> str:
    match source.math:
        case "total":
            return f"number of {_named(source)}"
        case "dau":
            return f"1 with {_named(source)}, else 0"
        case "unique_session":
            return f"number of sessions with {_named(source)}"
        case "unique_group":
            return f"number of groups with {_named(source)}"
        case math:
            word = {"sum": "sum of", "avg": "average", "min": "smallest", "max": "largest"}[math]
            return f"{word} `{source.math_property}` of {_named(source)}"


def _name_mean(metric: TypedMetric, unit: str) -> str:
    match metric:
        case MeanMetric(threshold=None, source=Source(math="dau")) | MeanMetric(threshold=float() | int()):
            return f"share of {unit}"
        case MeanMetric():
            return per_unit(_name_total(metric.source), unit)
        case FunnelMetric():
            return "conversion rate"
        case RetentionMetric():
            return "share retained"
        case RatioMetric():
            return "ratio"
        case QuantileMetric():
            return f"quantile {metric.quantile_level:g}"


def _name_sum(metric: TypedMetric) -> str:
    match metric:
        case MeanMetric(threshold=None, source=Source(math="dau")) | MeanMetric(threshold=float() | int()):
            return "with it"
        case MeanMetric():
            return _name_total(metric.source, "sum of ")
        case FunnelMetric():
            return "converted"
        case RetentionMetric():
            return "came back"
        case RatioMetric():
            return _name_total(metric.numerator, "sum of ")
        case QuantileMetric():
            return "sum"


def _name_total(source: Source, sum_of: str = "") -> str:
    """Return what the values of persons add up to."""
    match source.math:
        case "total":
            return "events"
        case "unique_session":
            return "sessions"
        case "unique_group" | "dau":
            return "groups" if source.math == "unique_group" else "persons"
        case "sum":
            return f"{sum_of}`{source.math_property}`"
        case math:
            word = {"avg": "average", "min": "smallest", "max": "largest"}[math]
            return f"{sum_of}{word} `{source.math_property}`"


def _named(node: Node) -> str:
    return name_events(_plain(node), node.properties)


def _plain(node: Node) -> str:
    return node.custom_name or node.name or node.event or f"action {node.id}"
