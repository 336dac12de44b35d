"""Health checks: each rule reads the evidence about an experiment and yields its findings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from app.experiments.exposures.traffic_split import SplitChange
from app.experiments.results.health_summary import Severity, Status
from app.experiments.results.target import MetricEvidence
from app.flags.filters import CONTROL
from app.statistics.frequentist.sample_ratio import MIN_SAMPLES, MISMATCH_LEVEL, SampleRatio

# Shares above which persons in several variants, and events without a variant, are reported.
SEVERAL_SHARE = 0.001
WITHOUT_VARIANT_SHARE = 0.5
UNDERPOWERED_DAYS = 60


@dataclass(frozen=True)
class Evidence:
    """Everything that the checks read.

    Attributes
    ----------
    is_running : bool
        Whether the experiment has started and has not ended.
    metric : MetricEvidence or None
        None where the target metric cannot be counted; ``metric_problem`` says why.
    forced_variants : sequence of str
        Variants that release conditions of the flag assign to everyone who matches.
    days_left : int or None
        Until the experiment is precise enough; None where that cannot be estimated.
    """

    is_running: bool
    is_flag_active: bool
    is_flag_deleted: bool
    split: Mapping[str, float]
    forced_variants: Sequence[str]
    split_changes: Sequence[SplitChange]
    exposed: Mapping[str, int]
    in_several: int
    exposure_event: str
    exposure_problem: str
    sample_ratio: SampleRatio | None
    metric: MetricEvidence | None
    metric_problem: str
    days_left: int | None


@dataclass(frozen=True)
class Finding:
    code: str
    subcode: str | None
    severity: Severity
    title: str
    detail: str
    evidence: Mapping[str, JsonValue]
    actions: Sequence[str]


def exposures_removed(detail: str) -> Finding:
    """Return the finding for an experiment whose exposure events were removed."""
    return Finding(
        "EVENTS_REMOVED",
        None,
        "warning",
        "Exposures cannot be counted any more",
        detail,
        {},
        ["Start a new experiment, or go back to the exposure event that was counted before."],
    )


def filters_not_understood(problems: Sequence[str]) -> Finding:
    """Return the finding for stored filters that match no one: not understood, or about what is gone."""
    shown: list[JsonValue] = list(problems)
    return Finding(
        "FILTER_NOT_UNDERSTOOD",
        None,
        "critical",
        "A filter is not understood",
        f"What cannot be evaluated matches no one, whatever it was meant to say: {'; '.join(problems)}",
        {"problems": shown},
        ["Write the filter as `docs/reference/filters.md` says, or remove what is gone from it."],
    )


def metric_not_counted(metric_id: str, name: str, detail: str) -> Finding:
    """Return the finding for a metric that repeatedly could not be counted in the background."""
    return Finding(
        "METRIC_NOT_COUNTED",
        None,
        "warning",
        "A metric cannot be counted",
        f"Counting {name!r} failed several times in a row: {detail} It is tried again ever more rarely.",
        {"metric_id": metric_id},
        [
            "Simplify the metric: fewer steps, conditions or intervals, or a later start.",
            "Change the metric, and it is tried at once.",
        ],
    )


def check(evidence: Evidence) -> list[Finding]:
    """Return the findings, the most severe first."""
    return sort_findings([finding for rule in _RULES for finding in rule(evidence)])


def sort_findings(findings: Sequence[Finding]) -> list[Finding]:
    order: Mapping[Severity, int] = {"critical": 0, "warning": 1, "info": 2}
    return sorted(findings, key=lambda finding: order[finding.severity])


def status_of(evidence: Evidence, findings: Sequence[Finding]) -> Status:
    """Return the status of an experiment that has started: waiting while there are no data and nothing is wrong."""
    has_data = bool(sum(evidence.exposed.values()) or (evidence.metric and evidence.metric.total))
    if evidence.is_running and not has_data and {finding.code for finding in findings} <= {"METRIC_NO_EVENTS"}:
        return "waiting"
    severities = {finding.severity for finding in findings}
    if "critical" in severities:
        return "unhealthy"
    return "warning" if "warning" in severities else "healthy"


def _sample_ratio_mismatch(evidence: Evidence) -> Iterator[Finding]:
    ratio = evidence.sample_ratio
    if ratio is None or not ratio.is_mismatch:
        return
    yield Finding(
        "SRM",
        None,
        "critical",
        "The split is not the planned one",
        f"Persons were not exposed in the planned proportions (chi-square p = {ratio.p_value:.2g}, alarm below "
        f"{MISMATCH_LEVEL} from {MIN_SAMPLES} persons on). Some variants lose or gain persons, so the variants are "
        "no longer comparable.",
        {"observed": dict(evidence.exposed), "expected": dict(ratio.expected), "p_value": ratio.p_value},
        [
            "Compare how the variants send exposures: redirects, crashes and consent banners of one variant lose them.",
            "Check whether bots or a release condition with a fixed variant add persons to one variant.",
            "Fix the cause and restart the experiment; the data collected so far cannot be corrected.",
        ],
    )


def _several_variants(evidence: Evidence) -> Iterator[Finding]:
    total = sum(evidence.exposed.values()) + evidence.in_several
    if not evidence.in_several or evidence.in_several <= SEVERAL_SHARE * total:
        return
    shares = {share for share in evidence.split.values() if share > 0}
    is_uneven = len(shares) > 1 and max(shares) - min(shares) > 1  # 33, 33 and 34 are even
    yield Finding(
        "BIAS_RISK_MULTIPLE_EXCLUDED",
        "uneven_split" if is_uneven else None,
        "warning",
        "Persons were shown several variants",
        f"{evidence.in_several} of {total} exposed persons were shown more than one variant; means per person leave "
        "them out."
        + (
            " With an uneven split this takes more persons from the smaller variants and biases them."
            if is_uneven
            else ""
        ),
        {"multiple_variants": evidence.in_several, "persons": total, "share": evidence.in_several / total},
        [
            "Identify persons before the flag is evaluated, or switch on experience continuity for the flag.",
            "Do not change the split of a running experiment.",
        ],
    )


def _forced_variants(evidence: Evidence) -> Iterator[Finding]:
    if evidence.forced_variants:
        yield Finding(
            "FORCED_VARIANT_RELEASE_CONDITION",
            None,
            "warning",
            "A release condition fixes the variant",
            f"Some persons always get {', '.join(evidence.forced_variants)}: they were not assigned at random, and "
            "bias the variants that they are in.",
            {"variants": list(evidence.forced_variants)},
            ["Remove the variant from the release condition, or leave these persons out as test accounts."],
        )


def _flag_state(evidence: Evidence) -> Iterator[Finding]:
    if not evidence.is_running or (evidence.is_flag_active and not evidence.is_flag_deleted):
        return
    state = "deleted" if evidence.is_flag_deleted else "off"
    yield Finding(
        "FLAG_STATE",
        "deleted" if evidence.is_flag_deleted else "inactive",
        "critical" if evidence.is_flag_deleted else "warning",
        f"The flag is {state}",
        f"The experiment runs, but its flag is {state}: no new person is assigned to a variant.",
        {"active": evidence.is_flag_active, "deleted": evidence.is_flag_deleted},
        ["Switch the flag on (or resume the experiment), or end the experiment."],
    )


def _split(evidence: Evidence) -> Iterator[Finding]:
    if evidence.split_changes:
        changes: list[JsonValue] = [{"when": one.when, "who": one.who} for one in evidence.split_changes]
        yield Finding(
            "SPLIT_CHANGED",
            None,
            "warning",
            "The split changed while the experiment ran",
            f"The flag's variants changed {len(changes)} time{'s' if len(changes) > 1 else ''} since the start. "
            "Persons of before and after are mixed in different proportions, so a trend over time can look like an "
            "effect.",
            {"changes": changes},
            ["Reset the experiment and start again with the split that you want to keep."],
        )


def _variants(evidence: Evidence) -> Iterator[Finding]:
    if evidence.metric is None or not evidence.metric.total:
        return
    of_variants = evidence.metric.of_variants
    tests = sum(count for key, count in of_variants.items() if key != CONTROL)
    if sum(of_variants.values()) == 0:
        return  # reported by the check for the flag's property
    if not of_variants.get(CONTROL):
        yield _without_data("NO_CONTROL_VARIANT", "control", evidence.metric)
    elif not tests:
        yield _without_data("NO_TEST_VARIANT", "any test variant", evidence.metric)


def _without_data(code: str, what: str, metric: MetricEvidence) -> Finding:
    return Finding(
        code,
        None,
        "critical",
        f"No data of {what}",
        f"The target metric has {metric.unit} of other variants, but not of {what}: there is nothing to compare.",
        {"counts": dict(metric.of_variants)},
        ["Check that the code sends the metric's events in every variant, with the flag's property."],
    )


def _metric(evidence: Evidence) -> Iterator[Finding]:
    metric = evidence.metric
    if metric is None:
        yield Finding(
            "NO_METRIC",
            None,
            "critical",
            "The target metric cannot be counted",
            evidence.metric_problem,
            {},
            ["Set the experiment's `filters` to a funnel or a trend."],
        )
    elif metric.total == 0:
        yield Finding(
            "METRIC_NO_EVENTS",
            None,
            "warning",
            "The target metric has no events",
            "No event inside the experiment's window matches the target metric.",
            {},
            [
                "Compare the names of the metric's events with those that arrive (`GET events/`).",
                "Check whether the metric's filters exclude every event.",
            ],
        )


def _missing_property(evidence: Evidence) -> Iterator[Finding]:
    metric = evidence.metric
    if metric is None or not metric.total:
        return
    share = metric.without_variant / metric.total
    if share <= WITHOUT_VARIANT_SHARE:
        return
    nothing = not sum(metric.of_variants.values())
    yield Finding(
        "MISSING_FLAG_PROPERTY",
        "all" if nothing else "most",
        "critical" if nothing else "warning",
        "Events do not say which variant was shown",
        f"{metric.without_variant} of {metric.total} {metric.unit} of the target metric do not name a "
        "variant (`$feature/<flag key>`), and are not counted for any.",
        {"without_variant": metric.without_variant, "total": metric.total},
        [
            "On a server, send the property yourself, or use the SDK's `send_feature_flags`.",
            "In a browser, evaluate the flag before the events are captured.",
        ],
    )


def _exposure(evidence: Evidence) -> Iterator[Finding]:
    if sum(evidence.exposed.values()) or evidence.in_several:
        return
    if evidence.metric is None or not evidence.metric.total:
        return  # nothing has happened at all
    yield Finding(
        "ZERO_EXPOSURES",
        None,
        "warning",
        "No person was exposed",
        f"The metric has events, but there is no event `{evidence.exposure_event}` inside the window: trends count "
        "every variant's exposure as 1, and means per person are unknown.",
        {"exposure_event": evidence.exposure_event},
        ["Evaluate the flag with an SDK that reports it, or define exposure in `custom_exposure_filter`."],
    )


def _unreadable_exposure(evidence: Evidence) -> Iterator[Finding]:
    if evidence.exposure_problem:
        yield Finding(
            "EXPOSURE_UNREADABLE",
            None,
            "warning",
            "The experiment's own exposure cannot be counted",
            f"`custom_exposure_filter` is ignored, and `{evidence.exposure_event}` counts instead. "
            f"{evidence.exposure_problem}",
            {"exposure_event": evidence.exposure_event},
            ["Fix `parameters.custom_exposure_filter`, or remove it."],
        )


def _power(evidence: Evidence) -> Iterator[Finding]:
    if evidence.is_running and evidence.days_left is not None and evidence.days_left > UNDERPOWERED_DAYS:
        yield Finding(
            "UNDERPOWERED",
            None,
            "info",
            "The experiment will take long",
            f"At the current pace it takes about {evidence.days_left} more days to detect the target effect.",
            {"days_left": evidence.days_left},
            ["Choose a larger target effect, expose more persons, or choose a metric that more of them reach."],
        )


_RULES = (
    _sample_ratio_mismatch,
    _several_variants,
    _forced_variants,
    _flag_state,
    _split,
    _metric,
    _missing_property,
    _variants,
    _exposure,
    _unreadable_exposure,
    _power,
)
