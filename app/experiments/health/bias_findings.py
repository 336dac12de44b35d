"""Findings about variants that differed before anyone was exposed."""

from collections.abc import Sequence

from app.common.number_texts import format_p_value
from app.experiments.health.rules import Finding
from app.experiments.scorecard.service import BiasedMetric
from app.statistics.analysis import BIAS_LEVEL


def find_pre_exposure_bias(biased: Sequence[BiasedMetric], unit: str) -> list[Finding]:
    """Return a finding for each metric in which variants differed before the exposure."""
    return [
        Finding(
            "PRE_EXPOSURE_BIAS",
            None,
            "warning",
            "Variants differed before the exposure",
            f"In {one.name!r} the {unit} of {', '.join(one.p_values)} did something else than those of the baseline "
            f"already before their exposure (Welch's test, {format_p_value(min(one.p_values.values()))}; alarm below "
            f"{BIAS_LEVEL} divided by the number of comparisons). Random assignment does not do that, so the "
            "difference after the exposure may not be an effect of the variant either.",
            {"metric_id": one.id, "p_values": dict(one.p_values)},
            [
                "Compare when the variants send their exposure: one that sends it later counts effects of the variant "
                "as the time before.",
                f"Look for an earlier experiment or release that treated the same {unit} differently, and for release "
                "conditions that fix the variant.",
                "Fix the cause and start a new experiment with another flag key, which assigns anew: adjusted means "
                "remove only a part of the bias.",
            ],
        )
        for one in biased
    ]
