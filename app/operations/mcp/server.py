"""The tools that assistants call: each is one call of the REST API, or is refused before it."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final, Literal

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field

from app import VERSION
from app.experiments.lifecycle import Conclusion, Status
from app.operations.mcp.api import ExperimentApi, Json

_INSTRUCTIONS: Final = (
    "Abacus runs experiments (A/B tests). Read `get_health` before you trust figures, and `get_decision` for what to "
    "do: its rule holds at every look. Never ship a variant unless the user has named it and said so."
)
_READS: Final = ToolAnnotations(read_only_hint=True)
_CHANGES: Final = ToolAnnotations(read_only_hint=False, destructive_hint=False)
_DESTROYS: Final = ToolAnnotations(read_only_hint=False, destructive_hint=True)
_CONTROL: Final = "control"

ExperimentId = Annotated[int, Field(ge=1, description="The id of the experiment.")]
Metrics = Annotated[
    list[dict[str, Any]],
    Field(
        description="Typed metrics, the first one is the target. For example: {'metric_type': 'mean', "
        "'name': 'Buyers', 'goal': 'increase', 'source': {'kind': 'EventsNode', 'event': 'purchase', 'math': 'dau'}}; "
        "or {'metric_type': 'funnel', 'series': [{'kind': 'EventsNode', 'event': 'purchase'}]}."
    ),
]


def build_server(api: ExperimentApi) -> MCPServer[None]:
    """Return a server whose tools call an API, which it closes in the end."""

    @asynccontextmanager
    async def lifespan(_server: MCPServer[None]) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await api.close()

    server: MCPServer[None] = MCPServer(
        "abacus", title="Abacus", version=VERSION, instructions=_INSTRUCTIONS, lifespan=lifespan, log_level="WARNING"
    )
    _add_reading(server, api)
    _add_planning(server, api)
    _add_changing(server, api)
    return server


def _add_reading(server: MCPServer[None], api: ExperimentApi) -> None:
    @server.tool(annotations=_READS)
    async def list_experiments(
        search: Annotated[str | None, Field(description="A part of the name.")] = None,
        status: Status | None = None,
        limit: Annotated[int, Field(ge=1, le=100)] = 20,
    ) -> Json:
        """List experiments, newest first, with their status."""
        found = await api.get("/experiments/", search=search, status=status, limit=limit)
        shown = ("id", "name", "status", "feature_flag_key", "start_date", "end_date", "conclusion")
        return {
            "count": found["count"],
            "experiments": [{name: one[name] for name in shown} for one in found["results"]],
        }

    @server.tool(annotations=_READS)
    async def get_experiment(experiment_id: ExperimentId) -> Json:
        """Return the whole definition of an experiment: flag, variants, metrics, dates, criteria."""
        return await api.get(f"/experiments/{experiment_id}/")

    @server.tool(annotations=_READS)
    async def get_results(experiment_id: ExperimentId) -> Json:
        """Return the verdict by PostHog's rules of 2022. `get_analysis` has intervals, `get_decision` advice."""
        return await api.get(f"/experiments/{experiment_id}/results/")

    @server.tool(annotations=_READS)
    async def get_analysis(experiment_id: ExperimentId) -> Json:
        """Return every metric with its variants: means, differences, credible and anytime-valid intervals, p-values."""
        return await api.get(f"/experiments/{experiment_id}/analysis/")

    @server.tool(annotations=_READS)
    async def get_health(experiment_id: ExperimentId) -> Json:
        """Return what is wrong with an experiment, such as a broken split or missing data, and what to do about it."""
        return await api.get(f"/experiments/{experiment_id}/health/")

    @server.tool(annotations=_READS)
    async def get_decision(experiment_id: ExperimentId) -> Json:
        """Return the recommendation (ship, rollback, keep_running, review, ...) with its reasons, in words."""
        return await api.get(f"/experiments/{experiment_id}/decision/")


def _add_planning(server: MCPServer[None], api: ExperimentApi) -> None:
    @server.tool(annotations=_READS)
    async def plan_power(
        metric_type: Literal["funnel", "count", "mean"],
        baseline: Annotated[float, Field(description="Conversion rate (0 to 1), events per person, or mean.")],
        minimum_detectable_effect: Annotated[float, Field(description="The smallest change worth detecting.")],
        relative: Annotated[bool, Field(description="Whether it is a share of the baseline.")] = True,  # noqa: FBT002
        variance: Annotated[float | None, Field(description="Variance of one person's value, for a mean.")] = None,
        exposures_per_day: Annotated[float | None, Field(description="New persons a day, of all variants.")] = None,
        variants: Annotated[int, Field(ge=2, le=20, description="With the baseline.")] = 2,
    ) -> Json:
        """Plan how many persons, and days, an experiment needs to show a change."""
        return await api.post(
            "/experiments/power/",
            {
                "metric_type": metric_type,
                "baseline": baseline,
                "minimum_detectable_effect": minimum_detectable_effect,
                "relative": relative,
                "variance": variance,
                "exposures_per_day": exposures_per_day,
                "variants": variants,
            },
        )


def _add_changing(server: MCPServer[None], api: ExperimentApi) -> None:
    @server.tool(annotations=_CHANGES)
    async def create_experiment(
        name: str,
        feature_flag_key: Annotated[str, Field(description="The key of the new flag.")],
        metrics: Metrics,
        description: str | None = None,
        variants: Annotated[list[str] | None, Field(description="control and test unless they are given.")] = None,
        allow_unknown_events: Annotated[  # noqa: FBT002
            bool, Field(description="Whether metrics may name events that were never captured.")
        ] = False,
    ) -> Json:
        """Create a draft with a flag of its own, whose variants get equal shares. Nothing is shown before launch."""
        if not allow_unknown_events:
            await _refuse_unknown_events(api, metrics)
        body: dict[str, object] = {"name": name, "feature_flag_key": feature_flag_key, "metrics": metrics}
        if variants is not None:
            body["parameters"] = {"feature_flag_variants": _shares(variants)}
        return await api.post("/experiments/", {**body, "description": description})

    @server.tool(annotations=_CHANGES)
    async def launch_experiment(experiment_id: ExperimentId) -> Json:
        """Launch a draft: its flag is switched on, and persons are assigned to variants from now on."""
        return await api.post(f"/experiments/{experiment_id}/launch/", {})

    @server.tool(annotations=_CHANGES)
    async def pause_experiment(experiment_id: ExperimentId) -> Json:
        """Pause a running experiment: its flag is switched off, and everyone sees the default."""
        return await api.post(f"/experiments/{experiment_id}/pause/", {})

    @server.tool(annotations=_DESTROYS)
    async def end_experiment(
        experiment_id: ExperimentId, conclusion: Conclusion | None = None, conclusion_comment: str | None = None
    ) -> Json:
        """End an experiment and store its results. The flag stays as it is: ship a variant to change what is shown."""
        outcome = {"conclusion": conclusion, "conclusion_comment": conclusion_comment}
        return await api.post(f"/experiments/{experiment_id}/end/", outcome)

    @server.tool(annotations=_DESTROYS)
    async def ship_variant(
        experiment_id: ExperimentId,
        variant_key: str,
        confirmation: Annotated[
            str, Field(description="'ship <variant_key> to everyone', only after the user has agreed to exactly that.")
        ] = "",
        conclusion: Conclusion | None = None,
        conclusion_comment: str | None = None,
    ) -> Json:
        """Give one variant to everyone, and end the experiment. It is refused without the confirmation."""
        needed = f"ship {variant_key} to everyone"
        if confirmation != needed:
            raise ToolError(await _ask_before_shipping(api, experiment_id, variant_key, needed))
        body = {"variant_key": variant_key, "conclusion": conclusion, "conclusion_comment": conclusion_comment}
        return await api.post(f"/experiments/{experiment_id}/ship_variant/", body)


async def _ask_before_shipping(api: ExperimentApi, experiment_id: int, variant_key: str, needed: str) -> str:
    """Return what shipping a variant would do, and whether it is what is recommended."""
    experiment = await api.get(f"/experiments/{experiment_id}/")
    decision = await api.get(f"/experiments/{experiment_id}/decision/")
    return (
        f"Not shipped. It would give {variant_key!r} of the experiment {experiment['name']!r} (flag "
        f"{experiment['feature_flag_key']!r}) to everyone and end the experiment. The recommendation is "
        f"{decision['recommendation']}: {decision['summary']} Ask the user, and if they agree call again with "
        f"confirmation {needed!r}."
    )


def _shares(variants: Sequence[str]) -> list[dict[str, object]]:
    """Return variants with equal shares of 100 %; the baseline is called ``control`` however it is written."""
    keys = [_CONTROL if key.lower() == _CONTROL else key for key in variants]
    share, rest = divmod(100, len(keys) or 1)
    return [{"key": key, "rollout_percentage": share + (number < rest)} for number, key in enumerate(keys)]


async def _refuse_unknown_events(api: ExperimentApi, metrics: Sequence[Mapping[str, Any]]) -> None:
    """Refuse metrics on events that were never captured: most often their names are mistyped."""
    names = dict.fromkeys(_events_in(metrics))
    unknown = [name for name in names if not (await api.get("/events/", event=name, limit=1))["results"]]
    if unknown:
        raise ToolError(
            f"No event was captured that is called {', '.join(map(repr, unknown))}. Check the spelling with the user; "
            "set allow_unknown_events if it is to come."
        )


def _events_in(node: object) -> Iterator[str]:
    """Yield the names of the events that metrics count."""
    if isinstance(node, Mapping):
        if isinstance(node.get("event"), str):
            yield node["event"]
        for member in node.values():
            yield from _events_in(member)
    elif isinstance(node, list):
        for member in node:
            yield from _events_in(member)
