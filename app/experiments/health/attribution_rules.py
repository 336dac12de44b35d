"""Health checks of what tells the variant of a metric's events: the events themselves, or exposures."""

from collections.abc import Iterator

from app.experiments.health.rules import WITHOUT_VARIANT_SHARE, Evidence, Finding
from app.experiments.results.health_summary import Severity


def check_attribution(evidence: Evidence) -> list[Finding]:
    """Return the findings about events whose variant is not known."""
    rule = _missing_property if evidence.attributed_by == "events" else _unexposed
    return list(rule(evidence))


def _missing_property(evidence: Evidence) -> Iterator[Finding]:
    metric = evidence.metric
    if metric is None or not metric.total:
        return
    share = metric.without_variant / metric.total
    if share <= WITHOUT_VARIANT_SHARE:
        return
    nothing = not sum(metric.of_variants.values())
    detail = (
        f"{metric.without_variant:,} of {metric.total:,} {metric.unit} of the target metric do not name a variant "
        "(`$feature/<flag key>`), and are not counted for any."
    )
    severity: Severity = "critical" if nothing else "warning"
    if not nothing and not evidence.reaches_everyone:
        severity = "info"
        detail += f" Those of {evidence.unit} whom the flag does not let in are rightly among them."
    yield Finding(
        "MISSING_FLAG_PROPERTY",
        "all" if nothing else "most",
        severity,
        "Events do not say which variant was shown",
        detail,
        {"without_variant": metric.without_variant, "total": metric.total},
        [
            "Set `parameters.attribution` to `exposure`: then exposures tell the variant, and events need no property. "
            "See what that changes with `results/?attribution=exposure`.",
            "On a server, send the property yourself, or use the SDK's `send_feature_flags`.",
            "In a browser, evaluate the flag before the events are captured.",
        ],
    )


def _unexposed(evidence: Evidence) -> Iterator[Finding]:
    metric, exposed = evidence.metric, sum(evidence.exposed.values())
    if metric is None or not metric.total or not exposed or any(metric.of_variants.values()):
        return
    yield Finding(
        "METRIC_NO_EVENTS",
        "unexposed",
        "warning",
        "The target metric has no events after exposure",
        f"The target metric has {metric.total:,} {metric.unit}, and not one of them belongs to any of the {exposed:,} "
        f"exposed {evidence.unit} after their exposure.",
        {"total": metric.total, "exposed": exposed},
        [
            "Check that exposures and the metric's events are sent with the same `distinct_id`.",
            "Check that the flag is evaluated before the metric's events happen.",
        ],
    )
