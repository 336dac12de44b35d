"""Draws how often rules call a winner where nothing differs, for the page about peeking, in light and dark colors.

The shares are those that `python -m benchmarks.analysis` prints.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # as a program this stands beside `benchmarks`, wherever it is called from

from benchmarks.analysis import DAYS, simulate  # noqa: E402

IMAGES: Final = ROOT / "docs" / "images"
_WIDTH, _HEIGHT = 720, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 190, 20, 45
_HIGHEST: Final = 0.8
_NAMES: Final = {
    "rule of 2022": "rule of 2022",
    "one look, 0.05": "p-value below 0.05",
    "anytime": "anytime-valid",
}


@dataclass(frozen=True)
class Colors:
    text: str
    grid: str
    lines: tuple[str, str, str]


COLORS: Final[Mapping[str, Colors]] = {
    "light": Colors("#333333", "#dddddd", ("#c0392b", "#b9770e", "#1f6fb2")),
    "dark": Colors("#e0e0e0", "#4a4f5c", ("#ff8a7a", "#f5b84b", "#6fb6f2")),
}


def draw(shares: Mapping[str, NDArray[np.float64]], colors: Colors) -> str:
    """Return an SVG image of the share of experiments that have called a winner by each day."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"'
        f' font-family="system-ui, sans-serif" font-size="13" fill="{colors.text}">'
    )
    return "\n".join([head, *_axes(colors), *_lines(shares, colors), "</svg>"]) + "\n"


def _axes(colors: Colors) -> Iterator[str]:
    for percent in range(0, int(_HIGHEST * 100) + 1, 20):
        y = _y(percent / 100)
        yield f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}" stroke="{colors.grid}"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{percent} %</text>'
    for day in (1, 7, 14, 21, 28):
        yield f'<text x="{_x(day)}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{day}</text>'
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    yield f'<text x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">day of the experiment</text>'


def _lines(shares: Mapping[str, NDArray[np.float64]], colors: Colors) -> Iterator[str]:
    for (rule, name), color in zip(_NAMES.items(), colors.lines, strict=True):
        points = " ".join(f"{_x(day)},{_y(share)}" for day, share in enumerate(shares[rule], start=1))
        yield f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2.5"/>'
        last = float(shares[rule][-1])
        label = f"{name}: {last:.0%}".replace("%", " %")
        yield f'<text x="{_x(DAYS) + 10}" y="{_y(last) + 4}" fill="{color}">{label}</text>'


def _x(day: int) -> float:
    return round(_LEFT + (day - 1) / (DAYS - 1) * (_WIDTH - _LEFT - _RIGHT), 1)


def _y(share: float) -> float:
    return round(_HEIGHT - _BOTTOM - share / _HIGHEST * (_HEIGHT - _TOP - _BOTTOM), 1)


def main() -> None:
    calls = simulate(20_000, np.random.default_rng(20221101))
    shares = {name: np.logical_or.accumulate(called, axis=1).mean(axis=0) for name, called in calls.items()}
    for scheme, colors in COLORS.items():
        (IMAGES / f"peeking-{scheme}.svg").write_text(draw(shares, colors), encoding="utf-8")


if __name__ == "__main__":
    main()
