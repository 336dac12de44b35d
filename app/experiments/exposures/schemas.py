"""The response body of exposures."""

import datetime as dt
from typing import Self
from zoneinfo import ZoneInfo

from pydantic import ConfigDict, Field, JsonValue

from app.accounts.users import UserBasic
from app.http.fields import UtcDatetime
from app.http.schemas import ResponseBody

SEVERAL = "$multiple"

EXPOSURES_EXAMPLE: dict[str, JsonValue] = {
    "exposure": {
        "event": "$feature_flag_called",
        "variant_property": "$feature_flag_response",
        "filters_test_accounts": False,
    },
    "date_range": {
        "date_from": "2022-11-01T00:00:00+00:00",
        "date_to": "2022-11-02T23:59:59+00:00",
        "timezone": "UTC",
    },
    "total_exposures": {"control": 100, "test": 98, SEVERAL: 2},
    "timeseries": [
        {
            "variant": variant,
            "days": ["2022-11-01", "2022-11-02"],
            "labels": ["1-Nov-2022", "2-Nov-2022"],
            "exposure_counts": list(counts),
        }
        for variant, counts in (("control", (40, 60)), ("test", (43, 55)), (SEVERAL, (1, 1)))
    ],
    "accounting": {
        "exposure_events": 213,
        "outside_window": 3,
        "test_accounts": 0,
        "missing_variant": 5,
        "unknown_variant": 1,
        "with_variant": 204,
        "persons_seen": 204,
        "persons_without_variant": 4,
        "multiple_variants": 2,
        "analysed": 198,
        "without_group": 0,
        "holdout": 0,
        "holdout_events": 0,
    },
    "unit": "persons",
    "lost_variants": {},
}


class ExposureEventRead(ResponseBody):
    event: str = Field(
        description="The event, or the name of the action, that counts as exposure.", examples=["$feature_flag_called"]
    )
    variant_property: str = Field(
        description="The event property that names the variant.", examples=["$feature_flag_response"]
    )
    filters_test_accounts: bool = Field(description="Whether the project's test accounts are excluded.")


class DateRangeRead(ResponseBody):
    date_from: str = Field(
        description="The start of the experiment, in the project's time zone.", examples=["2022-11-01T00:00:00+00:00"]
    )
    date_to: str = Field(
        description="The end of the experiment, or now while it runs.", examples=["2022-11-15T00:00:00+00:00"]
    )
    timezone: str = Field(examples=["UTC"])

    @classmethod
    def of(cls, start: dt.datetime, end: dt.datetime, timezone: ZoneInfo) -> Self:
        shown = [moment.astimezone(timezone).isoformat(timespec="seconds") for moment in (start, end)]
        return cls(date_from=shown[0], date_to=shown[1], timezone=timezone.key)


class ExposureSeriesRead(ResponseBody):
    variant: str = Field(description=f"A variant, or `{SEVERAL}` for persons who were shown several.")
    days: list[str] = Field(description="When the intervals start.", examples=[["2022-11-01", "2022-11-02"]])
    labels: list[str] = Field(
        description="Labels of the intervals for display.", examples=[["1-Nov-2022", "2-Nov-2022"]]
    )
    exposure_counts: list[int] = Field(
        description="Persons whose first exposure lies in the interval. They add up to the total.", examples=[[40, 60]]
    )


class ExposureAccountingRead(ResponseBody):
    """Two sums that add up.

    Events: `exposure_events` = `outside_window` + `test_accounts` + `without_group` + `missing_variant` +
    `unknown_variant` + `with_variant` + `holdout_events`, where two events of one person, moment and variant are one,
    unless the flag assigns groups. Persons, or groups where the flag assigns groups: `persons_seen` =
    `persons_without_variant` + `not_activated` + `multiple_variants` + `analysed` + `holdout`.
    """

    exposure_events: int = Field(description="All exposure events up to now, inside the window or not.", examples=[213])
    outside_window: int = Field(description="Events before the start or after the end.", examples=[3])
    test_accounts: int = Field(description="Events of test accounts, where these are excluded.", examples=[0])
    missing_variant: int = Field(description="Events inside the window that name no variant.", examples=[5])
    unknown_variant: int = Field(description="Events that name a variant which the flag does not have.", examples=[1])
    with_variant: int = Field(description="Events that name a variant of the flag.", examples=[204])
    persons_seen: int = Field(description="Persons with events inside the window.", examples=[204])
    persons_without_variant: int = Field(description="Persons without an event that names a variant.", examples=[4])
    not_activated: int = Field(
        default=0,
        description="Persons who were shown a variant, and had no event of `activation_config` at or after it.",
        examples=[0],
    )
    multiple_variants: int = Field(description="Persons who were shown several variants.", examples=[2])
    analysed: int = Field(description="Persons who were shown exactly one variant.", examples=[198])
    without_group: int = Field(
        description="Events inside the window that name no group of the type that the flag assigns; 0 where it assigns "
        "persons.",
        examples=[0],
    )
    holdout: int = Field(
        default=0, description="Persons whom the flag's holdout keeps out: they are in no variant.", examples=[0]
    )
    holdout_events: int = Field(
        default=0, description="Events that say that the person is held out (`holdout-<id>`).", examples=[0]
    )


class ExposuresRead(ResponseBody):
    model_config = ConfigDict(json_schema_extra={"examples": [EXPOSURES_EXAMPLE]})

    exposure: ExposureEventRead = Field(description="What counts as exposure.")
    date_range: DateRangeRead
    total_exposures: dict[str, int] = Field(
        description=f"Persons who were shown exactly one variant; persons who were shown several are `{SEVERAL}`.",
        examples=[{"control": 100, "test": 98, SEVERAL: 2}],
    )
    timeseries: list[ExposureSeriesRead] = Field(
        description="One series for each entry of `total_exposures`, in the same order."
    )
    accounting: ExposureAccountingRead = Field(description="How every event and every person was counted.")
    unit: str = Field(
        description="What is counted: `persons`, or the groups that the flag assigns, by the name of their type, such "
        "as `companies`. Groups then take the place of persons in every figure.",
        examples=["persons"],
    )
    lost_variants: dict[str, int] = Field(
        description="Variants that the flag had while the experiment ran and has no longer, with the persons who were "
        "shown them. Their events are among those of `unknown_variant`.",
        examples=[{}],
    )


class VariantShareRead(ResponseBody):
    key: str = Field(examples=["control"])
    rollout_percentage: float = Field(
        description="Its share of the persons whom the flag's release condition lets in, in percent.", examples=[50.0]
    )


class DistributionRead(ResponseBody):
    """How the experiment's flag assigned variants from a moment on."""

    effective_from: UtcDatetime
    rollout_percentage: float | None = Field(
        description="Share of the persons whom the flag's release condition lets in, in percent; null where there are "
        "several conditions.",
        examples=[100.0],
    )
    holdout: float = Field(
        description="Share of the persons whom a holdout keeps out before the release condition, in percent.",
        examples=[0.0],
    )
    variants: list[VariantShareRead] = Field(description="Control first.")
    changed_by: UserBasic | None = Field(description="Null also where it is not known any more.")
