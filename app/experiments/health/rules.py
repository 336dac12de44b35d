"""Health checks: each rule reads the evidence about an experiment and yields its findings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from app.common.nouns import PERSONS, capitalized, none_of
from app.common.number_texts import format_p_value
from app.experiments.exposures.traffic_split import SplitChange
from app.experiments.results.health_summary import Severity, Status
from app.experiments.results.target import MetricEvidence
from app.experiments.scorecard.progress import Progress, describe_uncounted
from app.metrics.queries.scope import AttributedBy
from app.statistics.frequentist.sample_ratio import MIN_SAMPLES, MISMATCH_LEVEL, SampleRatio

# Shares above which persons in several variants, and events without a variant, are reported.
SEVERAL_SHARE = 0.001
WITHOUT_VARIANT_SHARE = 0.5  # also that of exposures without a group
UNDERPOWERED_DAYS = 60


@dataclass(frozen=True)
class Evidence:
    """Everything that the checks read.

    Attributes
    ----------
    is_running : bool
        Whether the experiment has started and has not ended.
    baseline : str or None
        The variant that the others in ``compared`` are compared with.
    metric : MetricEvidence or None
        None where the target metric cannot be counted; ``metric_problem`` says why.
    unit : str
        What the flag assigns, in the plural: persons, or groups of a type.
    attributed_by : {"events", "exposure"}
        What tells the variant of the metric's events.
    lost_variants : mapping of str to int
        Persons or groups who were shown a variant that the flag has no longer.
    without_group : int
        Exposure events that name no group of the type that the flag assigns.
    forced_variants : sequence of str
        Variants that release conditions of the flag assign to everyone who matches.
    reaches_everyone : bool
        Whether a release condition of the flag lets everyone in.
    progress : Progress or None
        Towards a decision; None where the target metric cannot be analyzed, or has decided it.
    """

    is_running: bool
    baseline: str | None
    compared: Sequence[str]
    is_flag_active: bool
    is_flag_deleted: bool
    split: Mapping[str, float]
    forced_variants: Sequence[str]
    reaches_everyone: bool
    split_changes: Sequence[SplitChange]
    unit: str
    attributed_by: AttributedBy
    lost_variants: Mapping[str, int]
    without_group: int
    exposed: Mapping[str, int]
    in_several: int
    exposure_event: str
    exposure_problem: str
    unread_timestamps: int
    sample_ratio: SampleRatio | None
    metric: MetricEvidence | None
    metric_problem: str
    progress: Progress | None


@dataclass(frozen=True)
class Finding:
    code: str
    subcode: str | None
    severity: Severity
    title: str
    detail: str
    evidence: Mapping[str, JsonValue]
    actions: Sequence[str]


def check(evidence: Evidence) -> list[Finding]:
    """Return the findings, the most severe first."""
    return sort_findings([finding for rule in _RULES for finding in rule(evidence)])


def sort_findings(findings: Sequence[Finding]) -> list[Finding]:
    order: Mapping[Severity, int] = {"critical": 0, "warning": 1, "info": 2}
    return sorted(findings, key=lambda finding: order[finding.severity])


_OF_NO_DATA = {"METRIC_NO_EVENTS", "ZERO_EXPOSURES"}


def status_of(evidence: Evidence, findings: Sequence[Finding]) -> Status:
    """Return the status of an experiment that has started: waiting while there are no data and nothing is wrong."""
    has_data = bool(sum(evidence.exposed.values()) or (evidence.metric and evidence.metric.total))
    if evidence.is_running and not has_data and {finding.code for finding in findings} <= _OF_NO_DATA:
        return "waiting"
    severities = {finding.severity for finding in findings}
    if "critical" in severities:
        return "unhealthy"
    return "warning" if "warning" in severities else "healthy"


def _sample_ratio_mismatch(evidence: Evidence) -> Iterator[Finding]:
    ratio = evidence.sample_ratio
    if ratio is None or not ratio.is_mismatch:
        return
    observed: dict[str, JsonValue] = {key: evidence.exposed[key] for key in ratio.expected}
    phases = f", over {len(evidence.split_changes) + 1} phases of the split" if evidence.split_changes else ""
    yield Finding(
        "SRM",
        None,
        "critical",
        "The split is not the planned one",
        f"{capitalized(evidence.unit)} were not exposed in the planned proportions{phases} (chi-square test, "
        f"{format_p_value(ratio.p_value)}, alarm below {MISMATCH_LEVEL} from {MIN_SAMPLES} {evidence.unit} on). Some "
        f"variants lose or gain {evidence.unit}, so the variants are no longer comparable.",
        {"observed": observed, "expected": dict(ratio.expected), "p_value": ratio.p_value},
        [
            "Compare how the variants send exposures: redirects, crashes and consent banners of one variant lose them.",
            f"Check whether bots or a release condition with a fixed variant add {evidence.unit} to one variant.",
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
        f"{capitalized(evidence.unit)} were shown several variants",
        f"{evidence.in_several:,} of {total:,} exposed {evidence.unit} were shown more than one variant; means leave "
        "them out."
        + (
            f" With an uneven split this takes more {evidence.unit} from the smaller variants and biases them."
            if is_uneven
            else ""
        ),
        {"multiple_variants": evidence.in_several, "persons": total, "share": evidence.in_several / total},
        [
            "Identify persons before the flag is evaluated, or switch on experience continuity for the flag."
            if evidence.unit == PERSONS
            else f"Name the same one of the {evidence.unit} wherever the flag is evaluated.",
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
            f"Some {evidence.unit} always get {', '.join(evidence.forced_variants)}: they were not assigned at random, "
            "and bias the variants that they are in.",
            {"variants": list(evidence.forced_variants)},
            ["Remove the variant from the release condition, or leave these out as test accounts."],
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
        f"The experiment runs, but its flag is {state}: no more {evidence.unit} are assigned to a variant.",
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
            f"{capitalized(evidence.unit)} of before and after are mixed in different proportions, so a trend over "
            "time can look like an effect.",
            {"changes": changes},
            ["Reset the experiment and start again with the split that you want to keep."],
        )


def _lost_variants(evidence: Evidence) -> Iterator[Finding]:
    lost = evidence.lost_variants
    if not lost:
        return
    named = ", ".join(f"{variant!r} ({persons:,} {evidence.unit})" for variant, persons in lost.items())
    yield Finding(
        "LOST_VARIANTS",
        None,
        "critical",
        "Variants were renamed or removed",
        f"The flag no longer has {named}: what they did is in no figure, and what is left may not be comparable.",
        {"lost_variants": dict(lost)},
        [
            "Give the flag's variants the keys that they had: then everything is counted again.",
            "Or reset the experiment and start again with the new variants.",
        ],
    )


def _missing_group(evidence: Evidence) -> Iterator[Finding]:
    total = evidence.without_group + sum(evidence.exposed.values()) + evidence.in_several
    if evidence.without_group <= WITHOUT_VARIANT_SHARE * total:
        return
    yield Finding(
        "MISSING_GROUP",
        None,
        "warning",
        "Exposures do not name the group",
        f"{evidence.without_group:,} events `{evidence.exposure_event}` name no group of the type that the flag "
        f"assigns ({evidence.unit}), and are not counted.",
        {"without_group": evidence.without_group},
        ["Send the group with every event: call `group` in the SDK, or set `$groups` where events are captured."],
    )


def _variants(evidence: Evidence) -> Iterator[Finding]:
    if evidence.metric is None or not evidence.metric.total:
        return
    of_variants = evidence.metric.of_variants
    tests = sum(of_variants.get(key, 0) for key in evidence.compared if key != evidence.baseline)
    if sum(of_variants.values()) == 0:
        return  # reported by the checks of what tells the variant
    if not of_variants.get(evidence.baseline or ""):
        yield _without_data("NO_CONTROL_VARIANT", evidence.baseline or "a baseline", evidence.metric)
    elif not tests:
        yield _without_data("NO_TEST_VARIANT", "any test variant", evidence.metric)


def _without_data(code: str, what: str, metric: MetricEvidence) -> Finding:
    check = "Check that the code sends the metric's events in every variant, with the flag's property."
    if metric.is_typed:
        check = "Check that the code evaluates the flag in every variant, and reports it: exposures tell the variant."
    return Finding(
        code,
        None,
        "critical",
        f"No data of {what}",
        f"The target metric has {metric.unit} of other variants, but not of {what}: there is nothing to compare.",
        {"counts": dict(metric.of_variants)},
        [check],
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
            ["Give the experiment a target metric: a typed one, or a funnel or a trend of 2022."],
        )
    elif metric.is_typed:
        yield from _typed_metric(evidence, metric)
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


def _typed_metric(evidence: Evidence, metric: MetricEvidence) -> Iterator[Finding]:
    """Metrics of exposed persons: without exposures there is nothing to count, which is reported for itself."""
    exposed = sum(evidence.exposed.values())
    if not exposed or (metric.total and not metric.is_silent):
        return
    detail = (
        f"{exposed:,} {evidence.unit} were exposed, and the value of each is 0: there is no event of the metric at "
    )
    detail += "or after the exposure and inside the conversion window, or not one that is large enough."
    if not metric.total:
        detail = describe_uncounted(exposed, evidence.unit)
    if not metric.total and metric.awaits_windows:
        yield Finding(
            "METRIC_NOT_MATURE",
            None,
            "info",
            "No window is over yet",
            f"{exposed:,} {evidence.unit} were exposed. With `only_count_matured_users` each of them is counted from "
            "the end of their window on.",
            {"exposed": exposed, "counted": 0},
            ["Wait until the first windows are over."],
        )
        return
    yield Finding(
        "METRIC_NO_EVENTS",
        None,
        "warning",
        "The target metric has no events",
        detail,
        {"exposed": exposed, "counted": metric.total},
        [
            "Compare the names of the metric's events, and their distinct ids, with those that arrive (`GET events/`).",
            "Check whether the metric's filters exclude every event, and whether its events come before the exposure.",
        ],
    )


def _not_comparable(evidence: Evidence) -> Iterator[Finding]:
    metric = evidence.metric
    if metric is None or not metric.amount or not metric.total:
        return
    yield Finding(
        "NOT_COMPARABLE",
        None,
        "info",
        "The rule of 2022 has no verdict: see the analysis",
        f"The rule of 2022 is about counts of events and of {evidence.unit}. The total of the target metric "
        f"(`{metric.amount}`), or its exposure, is an amount, whose size says nothing about its variance.",
        {"math": metric.amount},
        [f"Read the analysis: it compares `total`, `dau`, `sum` and `avg` with their variance over {evidence.unit}."],
    )


def _exposure(evidence: Evidence) -> Iterator[Finding]:
    if sum(evidence.exposed.values()) or evidence.in_several or evidence.metric is None:
        return
    if not evidence.metric.is_typed and not evidence.metric.total:
        return  # nothing has happened at all
    consequence = "trends count every variant's exposure as 1, and means are unknown."
    if evidence.metric.is_typed:
        consequence = f"the metric counts what exposed {evidence.unit} do, and there are none."
    yield Finding(
        "ZERO_EXPOSURES",
        None,
        "warning",
        f"{capitalized(none_of(evidence.unit))} exposed",
        f"There is no event `{evidence.exposure_event}` with a variant inside the window: {consequence}",
        {"exposure_event": evidence.exposure_event},
        [
            "Evaluate the flag with an SDK that reports it, or say what exposure is in `exposure_criteria` (metrics of "
            "2022: `custom_exposure_filter`)."
        ],
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


def _unread_timestamps(evidence: Evidence) -> Iterator[Finding]:
    if evidence.unread_timestamps:
        yield Finding(
            "TIMESTAMPS_UNREAD",
            None,
            "warning",
            "Events state times that cannot be read",
            f"{evidence.unread_timestamps:,} events of the target metric or of exposure arrived during the experiment "
            "with a time that cannot be read. They count at the time of arrival, perhaps long after they happened.",
            {"events": evidence.unread_timestamps},
            [
                "Send `timestamp` as ISO 8601 with a zone, such as `2022-11-02T10:00:00Z`.",
                "Look at the property `$unread_timestamp` of the events, which has the text.",
            ],
        )


def _power(evidence: Evidence) -> Iterator[Finding]:
    progress = evidence.progress
    if not (evidence.is_running and evidence.is_flag_active) or progress is None:
        return
    if evidence.sample_ratio is not None and evidence.sample_ratio.is_mismatch:  # more of these data decide nothing
        return
    if progress.takes_too_long or (progress.days_left or 0) > UNDERPOWERED_DAYS:
        yield Finding(
            "UNDERPOWERED",
            None,
            "info",
            "The experiment will take long",
            f"At the current pace it takes more than {UNDERPOWERED_DAYS} days to detect the target effect.",
            {"days_left": progress.days_left},
            [
                f"Choose a larger target effect, expose more {evidence.unit}, or choose a metric that more of them "
                "reach."
            ],
        )


_RULES = (
    _sample_ratio_mismatch,
    _several_variants,
    _forced_variants,
    _flag_state,
    _split,
    _lost_variants,
    _missing_group,
    _metric,
    _not_comparable,
    _variants,
    _exposure,
    _unreadable_exposure,
    _unread_timestamps,
    _power,
)
