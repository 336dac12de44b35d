"""Renders pages from the templates beside this module. A page loads nothing from another host."""

import base64
import gzip
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from app import VERSION
from app.common.nouns import capitalized
from app.experiments.scorecard.decision_table import TITLES
from app.pages import figures, formatting
from app.pages.actions.catalog import describe_done, offered
from app.pages.figures import Figure
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


def render(template: str, **values: object) -> str:
    return _environment().get_template(template).render(**values)


def render_experiment(
    page: ExperimentPage, link: Callable[..., str] | None, visit: Visit | None = None, done: str = ""
) -> str:
    """Return an experiment's page; without ``link`` as one file that can be sent and printed.

    Without a ``visit`` it is read by people who are not signed in, and offers nothing to do. ``done`` names the action
    that led here.
    """
    charts = build_charts(page)
    return render(
        "experiment.html",
        page=page,
        charts=charts,
        data=write_data([chart.data for chart in charts]),
        colors=_colors(page),
        link=link,
        visit=visit,
        actions=offered(page.experiment),
        done=describe_done(done),
    )


def build_charts(page: ExperimentPage) -> Sequence[Figure]:
    """Return the charts of an experiment, the most informative first."""
    report = page.report
    if report is None:
        return []
    metrics = report.overview.scorecard.metrics
    built = (
        figures.build_densities_chart(metrics[0], report.exposures.unit),
        figures.build_differences_chart(metrics),
        figures.build_timeseries_chart(report.overview.timeseries),
        figures.build_exposures_chart(report.exposures, report.planned),
        figures.build_funnel_chart(report.verdict.results, report.exposures.unit, metrics[0]),
    )
    return [chart for chart in built if chart is not None]


def write_data(data: object) -> Markup:
    """Return data as JSON that cannot close the element it is put into."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704  # escaped


def _colors(page: ExperimentPage) -> Mapping[str, int]:
    """Return each variant's index in the palette; variants beyond the eighth use its colors again."""
    return {variant.key: index % 8 for index, variant in enumerate(page.variants)}


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_DIRECTORY / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "version": VERSION,
        "scripts": [assets()[name] for name in SCRIPTS],
        "style": assets()[STYLE],
        "visit": None,
        "file_policy": content_policy(is_file=True),
        "is_conversion_rate": figures.is_conversion_rate,
        "name_measure": figures.name_measure,
        "name_sum": figures.name_sum,
        "describe_counts": figures.describe_counts,
        "titles": TITLES,
        "capitalized": capitalized,
        "utc": ZoneInfo("UTC"),
        "format_level": figures.format_level,
        "format_interval": figures.format_interval,
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
        "inline": lambda asset: Markup(asset.text),  # noqa: S704  # a file of this package
    }
    return environment


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
