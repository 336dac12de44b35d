"""How counts are analyzed: the configuration as it is sent, and as it took effect."""

from pydantic import Field

from app.analysis.quantities import Level, Quantity
from app.http.fields import Boolean, OptionalText
from app.http.schemas import ResponseBody, StrictBody
from app.statistics.frequentist.multiplicity import Correction
from app.statistics.frequentist.sequential import DEFAULT_TUNING
from app.statistics.results import Method


class SequentialConfig(StrictBody):
    enabled: Boolean = Field(
        default=True,
        description="Whether `significant` is based on the anytime-valid p-value, which allows daily looks.",
    )
    tuning_parameter: Quantity = Field(
        default=DEFAULT_TUNING,
        description="Samples of both variants at which the anytime-valid interval is tightest.",
    )


class StatsConfig(StrictBody):
    method: Method = Field(
        default="bayesian",
        description="What `significant` is based on when `sequential` is off: the posterior, or the p-value.",
    )
    confidence_level: Level = Field(default=0.95, description="Of all intervals; the significance level is 1 minus it.")
    sequential: SequentialConfig = SequentialConfig()
    baseline_variant_key: OptionalText = Field(
        default=None,
        description="The variant that others are compared with; if unset, `control` or else the first variant.",
    )
    multiple_testing: Correction | None = Field(
        default=None,
        description="Correction for comparing several variants with the baseline. Unless it is given, Holm's is made "
        "over the variants of each metric; one that is given is made over all comparisons of an experiment's metrics.",
    )


class SequentialRead(ResponseBody):
    enabled: bool
    tuning_parameter: float


class StatsConfigRead(ResponseBody):
    """The configuration as it took effect."""

    method: Method
    confidence_level: float
    sequential: SequentialRead
    baseline_variant_key: str
    multiple_testing: Correction = Field(
        description="Unless it was given, `holm` where several variants are compared with the baseline, else `none`."
    )
