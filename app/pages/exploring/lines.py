"""A picture of differences over time, drawn by the server: it needs no script."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.analysis.schemas import Ends
from app.experiments.scorecard.schemas import TimeseriesRead

WIDTH: Final = 720
HEIGHT: Final = 280
LEFT, RIGHT = 104, WIDTH - 14  # where the picture begins and ends, beside its labels
_TOP, _BOTTOM = 12, 28
_STUB: Final = 24  # half the width of what is drawn of a single day


@dataclass(frozen=True)
class Line:
    """A variant's line and band, as the points of SVG."""

    variant: str
    line: str
    band: str


@dataclass(frozen=True)
class LineChart:
    lines: Sequence[Line]
    ticks: Sequence[tuple[float, str]]  # y, and its label
    days: Sequence[tuple[float, str]]  # x, and its label
    zero: float | None


@dataclass(frozen=True)
class Point:
    """The difference from the baseline at the end of a day."""

    day: str
    variant: str
    difference: float
    band: Ends | None


def points_of(timeseries: TimeseriesRead, variant: str, *, is_absolute: bool) -> Sequence[Point]:
    """Return the differences by day, of one variant or of all."""
    found = []
    for day, analysis in timeseries.timeseries.items():
        for one in analysis.variants:
            difference = one.delta if is_absolute else one.delta_relative
            is_asked = one.key != analysis.stats_config.baseline_variant_key and variant in {"", one.key}
            if is_asked and difference is not None:
                band = one.sequential_interval if is_absolute else one.relative_sequential_interval
                found.append(Point(day, one.key, difference, band))
    return found


def draw(points: Sequence[Point], write: Callable[[float | None], str]) -> LineChart | None:
    """Return the picture. Its height is that of the later half of the days: the first intervals are very wide."""
    days = list(dict.fromkeys(point.day for point in points))
    if not days:
        return None
    later = set(days[len(days) // 2 :])
    ends = [0.0]
    for point in points:
        if point.day in later:
            ends += [point.difference, *(point.band or ())]
    low, high = min(ends), max(ends)
    if low == high:
        low, high = low - 1, high + 1
    steps = _ticks(low, high)
    places = {day: LEFT + (RIGHT - LEFT) * (at + 0.5) / len(days) for at, day in enumerate(days)}

    def height(value: float) -> float:
        inside = min(max(value, low), high)
        return round(_TOP + (HEIGHT - _TOP - _BOTTOM) * (high - inside) / (high - low), 1)

    shown = days[:: max(1, math.ceil(len(days) / 6))]
    return LineChart(
        lines=[
            _line(variant, [point for point in points if point.variant == variant], places, height)
            for variant in dict.fromkeys(point.variant for point in points)
        ],
        ticks=[(height(step), write(step)) for step in steps],
        days=[(round(places[day], 1), day) for day in shown],
        zero=height(0.0) if low <= 0 <= high else None,
    )


def _line(variant: str, points: Sequence[Point], places: Mapping[str, float], height: Callable[[float], float]) -> Line:
    around = (0,) if len(points) > 1 else (-_STUB, _STUB)
    spots = [(places[point.day] + beside, point) for point in points for beside in around]
    banded = [(x, point.band) for x, point in spots if point.band is not None]
    upper = [f"{x:.1f},{height(band[1])}" for x, band in banded]
    lower = [f"{x:.1f},{height(band[0])}" for x, band in reversed(banded)]
    return Line(
        variant,
        " ".join(f"{x:.1f},{height(point.difference)}" for x, point in spots),
        " ".join([*upper, *lower]),
    )


def _ticks(low: float, high: float) -> Sequence[float]:
    """Return round values inside a range: about five."""
    size = 10 ** math.floor(math.log10((high - low) / 4))
    step = next((size * factor for factor in (1, 2, 5, 10) if (high - low) / (size * factor) <= 5), size * 10)
    return [place * step for place in range(math.ceil(low / step), math.floor(high / step) + 1)]
