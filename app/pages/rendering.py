"""Renders pages from the templates beside this module. A page loads nothing from another host."""

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from app import VERSION
from app.common.nouns import all_of, capitalized, none_of, who
from app.common.time_slices import TimeSlices
from app.experiments.results.service import has_target
from app.pages import figures, formatting, metric_texts
from app.pages.actions.catalog import describe_done, offered
from app.pages.automation import describe_automation
from app.pages.figures import Figure
from app.pages.labels import with_labels
from app.pages.service import ExperimentPage
from app.pages.visits import Visit

_DIRECTORY: Final = Path(__file__).parent
SCRIPTS: Final = ("d3.min.js", "plot.umd.min.js", "page.js")
STYLE: Final = "page.css"
# The one style sheet that the plotting library puts into its charts, for a class name of "plot".
_CHART_STYLE: Final = """:where(.plot) {
  --plot-background: white;
  display: block;
  height: auto;
  height: intrinsic;
  max-width: 100%;
}
:where(.plot text),
:where(.plot tspan) {
  white-space: pre;
}"""

_NAME: Final = re.compile(r"`([^`]+)`")
# The paths of the marks of variants, around the origin: a color and a shape together are one of 70 marks. The script
# draws the same shapes, in this order.
SHAPES: Final = (
    "M6.2,0A6.2,6.2,0,1,1,-6.2,0A6.2,6.2,0,1,1,6.2,0",
    "M-5.1,-5.1h10.2v10.2h-10.2Z",
    "M0,-8L7,4L-7,4Z",
    "M0,-8.8L5.1,0L0,8.8L-5.1,0Z",
    "M0,-9L2,-2.8L8.5,-2.8L3.3,1L5.3,7.2L0,3.4L-5.3,7.2L-3.3,1L-8.5,-2.8L-2,-2.8Z",
    "M-6.7,-2.2L-2.2,-2.2L-2.2,-6.7L2.2,-6.7L2.2,-2.2L6.7,-2.2L6.7,2.2L2.2,2.2L2.2,6.7L-2.2,6.7L-2.2,2.2L-6.7,2.2Z",
    "M2.6,1.5L2.6,6.8L-2.6,6.8L-2.6,1.5L-7.2,-1.1L-4.5,-5.7L0,-3L4.5,-5.7L7.2,-1.1Z",
)

_MEDIA_TYPES: Final = {".js": "text/javascript", ".css": "text/css"}


class Asset:
    """A static file of the pages. Its URL changes with its content."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.body = (_DIRECTORY / "static" / name).read_bytes()
        self.compressed = gzip.compress(self.body, mtime=0)
        self.version = hashlib.sha256(self.body).hexdigest()[:12]
        self.media_type = _MEDIA_TYPES[Path(name).suffix]

    @property
    def text(self) -> str:
        return self.body.decode()


@cache
def assets() -> Mapping[str, Asset]:
    return {name: Asset(name) for name in (*SCRIPTS, STYLE)}


def content_policy(*, is_file: bool = False) -> str:
    """Return the Content-Security-Policy: a file carries its scripts inline, a served page loads them."""
    scripts, styles, own = ["'self'"], ["'self'"], "'self'"
    if is_file:
        scripts, styles = [_hash(assets()[name].text) for name in SCRIPTS], [_hash(assets()[STYLE].text)]
        own = "'none'"
    rules = [
        "default-src 'none'",
        f"script-src {' '.join(scripts)}",
        f"style-src {' '.join([*styles, _hash(_CHART_STYLE)])}",
        "img-src 'self' data:",
        "connect-src 'none'",
        "base-uri 'none'",
        f"form-action {own}",
    ]
    return "; ".join(rules if is_file else [*rules, "frame-ancestors 'none'"])


def prepare() -> None:
    """Compress the assets and compile the templates, which takes too long for the event loop."""
    environment = _environment()
    for name in environment.list_templates():
        environment.get_template(name)


async def render(template: str, **values: object) -> str:
    """Render a page in slices, between which other requests are served."""
    return await _render(template, TimeSlices(rests=True), values)


async def _render(template: str, slices: TimeSlices, values: Mapping[str, object]) -> str:
    pieces = []
    for piece in _environment().get_template(template).generate(values):
        pieces.append(piece)
        if slices.are_over():
            await slices.pause()
    return "".join(pieces)


async def render_experiment(
    page: ExperimentPage, link: Callable[..., str] | None, visit: Visit | None = None, done: str = ""
) -> str:
    """Return an experiment's page; without ``link`` as one file that can be sent and printed.

    Without a ``visit`` it is read by people who are not signed in, and offers nothing to do. ``done`` names the action
    that led here.
    """
    slices = TimeSlices(rests=True)
    await slices.pause()
    charts = build_charts(page)
    values = {
        "page": page,
        "charts": charts,
        "data": write_data([chart.data for chart in charts]),
        "colors": _colors(page),
        "link": link,
        "visit": visit,
        "actions": offered(page.experiment),
        "automation": describe_automation(page.experiment, page.timezone),
        "done": describe_done(done),
    }
    await slices.pause()
    return await _render("experiment.html", slices, values)


def build_charts(page: ExperimentPage) -> Sequence[Figure]:
    """Return the charts of an experiment, the most informative first."""
    report = page.report
    if report is None:
        return []
    metrics = report.overview.scorecard.metrics
    built = (
        figures.build_densities_chart(metrics[0]),
        figures.build_differences_chart(metrics),
        figures.build_timeseries_chart(report.overview.timeseries),
        figures.build_exposures_chart(report.exposures, report.planned),
        figures.build_funnel_chart(report.verdict.results, report.exposures.unit, metrics[0]),
    )
    return [chart for chart in built if chart is not None]


def mark_names(text: str) -> Markup:
    """Return a text with what stands between backticks as code, escaped."""
    return Markup(_NAME.sub(r'<code dir="auto">\1</code>', str(escape(text))))  # noqa: S704  # escaped


def write_data(data: object) -> Markup:
    """Return data as JSON that cannot close the element it is put into."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704  # escaped


def _colors(page: ExperimentPage) -> Mapping[str, int]:
    """Return each variant's place among the marks: one of 10 colors, and of as many shapes as ``SHAPES`` has."""
    return {variant.key: index for index, variant in enumerate(page.variants)}


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_DIRECTORY / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,  # else the files are looked at for each page
    )
    environment.globals |= {
        "version": VERSION,
        "scripts": [assets()[name] for name in SCRIPTS],
        "style": assets()[STYLE],
        "visit": None,
        "file_policy": content_policy(is_file=True),
        "is_conversion_rate": metric_texts.is_conversion_rate,
        "name_measure": metric_texts.name_measure,
        "name_sum": metric_texts.name_sum,
        "describe_counts": metric_texts.describe_counts,
        "lacks_data": metric_texts.lacks_data,
        "lacks_comparison": metric_texts.lacks_comparison,
        "lacks_ranking": metric_texts.lacks_ranking,
        "cut_change": metric_texts.cut_change,
        "choose_difference_format": metric_texts.choose_difference_format,
        "shapes": SHAPES,
        "capitalized": capitalized,
        "none_of": none_of,
        "all_of": all_of,
        "who": who,
        "has_target_of_2022": has_target,
        "utc": ZoneInfo("UTC"),
        "format_level": metric_texts.format_level,
        "format_interval": metric_texts.format_interval,
        "format_percentage": formatting.format_percentage,
        "format_number": formatting.format_number,
        "format_change": formatting.format_change,
    }
    environment.filters |= {
        "number": formatting.format_number,
        "share": formatting.format_percentage,
        "change": formatting.format_change,
        "probability": formatting.format_probability,
        "p_value": formatting.format_p_value,
        "time": formatting.format_time,
        "day": formatting.format_day,
        "marked": mark_names,
        "labeled": lambda text: mark_names(with_labels(text)),
        "inline": lambda asset: Markup(asset.text),  # noqa: S704  # a file of this package
    }
    return environment


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
