"""An assistant runs an experiment by the tools, as the SDK's own client calls them."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from mcp import Client, StdioServerParameters
from mcp_types import TextContent

from app.operations.mcp.api import ExperimentApi
from app.operations.mcp.server import build_server
from tests.support.service import Json, Service, event, exposure

pytestmark = pytest.mark.one_database

BUYERS: Json = {
    "metric_type": "mean",
    "name": "Buyers",
    "source": {"kind": "EventsNode", "event": "purchase", "math": "dau"},
}
TOOLS = {
    "list_experiments",
    "get_experiment",
    "get_results",
    "get_analysis",
    "get_health",
    "get_decision",
    "plan_power",
    "create_experiment",
    "launch_experiment",
    "pause_experiment",
    "end_experiment",
    "ship_variant",
}


@asynccontextmanager
async def assistant(application: FastAPI, service: Service, key: str = "") -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {key or service.key}"}
    transport = httpx.ASGITransport(app=application)
    client = httpx.AsyncClient(transport=transport, base_url="http://abacus.test", headers=headers)
    async with Client(build_server(ExperimentApi(client, str(service.project_id)))) as found:
        yield found


async def call(client: Client, tool: str, **arguments: Any) -> str:
    """Return the text that a tool answers."""
    answered = await client.call_tool(tool, arguments)
    [content] = answered.content
    assert isinstance(content, TextContent)
    return content.text


async def test_assistant_runs_an_experiment_and_ships_only_what_the_user_confirmed(
    application: FastAPI, service: Service
) -> None:
    await service.capture(event("purchase", "somebody"))
    async with assistant(application, service) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == TOOLS
        needed = {"name": "Button", "feature_flag_key": "button", "metrics": [BUYERS]}
        created = await call(client, "create_experiment", **needed, variants=["Control", "green", "blue"])
        assert '"status": "draft"' in created
        [draft] = (await service.read("/experiments/"))["results"]
        shares = [(one["key"], one["rollout_percentage"]) for one in draft["parameters"]["feature_flag_variants"]]
        assert shares == [("control", 34), ("green", 33), ("blue", 33)]

        assert '"status": "running"' in await call(client, "launch_experiment", experiment_id=draft["id"])
        assert '"button"' in await call(client, "list_experiments", status="running")
        await service.capture(
            *[exposure(f"{one}-{n}", one, "", "button") for one in ("control", "green") for n in (1, 2)]
        )
        for tool in ("get_experiment", "get_analysis", "get_health"):
            assert (await call(client, tool, experiment_id=draft["id"])).startswith("{"), tool
        assert '"recommendation"' in await call(client, "get_decision", experiment_id=draft["id"])
        power = await call(client, "plan_power", metric_type="funnel", baseline=0.1, minimum_detectable_effect=0.1)
        assert "sample_size" in power

        for confirmation in ("", "yes", "ship blue to everyone"):
            arguments = {"experiment_id": draft["id"], "variant_key": "green", "confirmation": confirmation}
            refused = await call(client, "ship_variant", **arguments)
            assert "Not shipped. It would give 'green' of the experiment 'Button'" in refused
            assert "'ship green to everyone'" in refused
        assert (await service.read(f"/experiments/{draft['id']}/"))["status"] == "running"
        arguments = {"experiment_id": draft["id"], "variant_key": "green", "confirmation": "ship green to everyone"}
        assert '"status": "stopped"' in await call(client, "ship_variant", **arguments, conclusion="won")
    [flag] = (await service.read("/feature_flags/"))["results"]
    split = {one["key"]: one["rollout_percentage"] for one in flag["filters"]["multivariate"]["variants"]}
    assert split == {"control": 0, "green": 100, "blue": 0}


async def test_pause_and_end_are_the_same_actions_as_those_of_the_api(application: FastAPI, service: Service) -> None:
    experiment = await service.create_experiment(end_date=None)
    async with assistant(application, service) as client:
        paused = await call(client, "pause_experiment", experiment_id=experiment["id"])
        ended = await call(client, "end_experiment", experiment_id=experiment["id"], conclusion="inconclusive")

    assert '"status": "paused"' in paused
    assert '"conclusion": "inconclusive"' in ended


async def test_errors_are_passed_on_in_words(application: FastAPI, service: Service) -> None:
    mistyped = {**BUYERS, "source": {**BUYERS["source"], "event": "purchse"}}
    draft = {"name": "Button", "feature_flag_key": "button", "metrics": [mistyped]}
    async with assistant(application, service) as client:
        unknown_event = await call(client, "create_experiment", **draft)
        missing = await call(client, "get_results", experiment_id=7)
        created = await call(client, "create_experiment", **draft, allow_unknown_events=True)
        taken = await call(client, "create_experiment", **draft, allow_unknown_events=True)
    async with assistant(application, service, key="phx_wrong") as client:
        rejected = await call(client, "list_experiments")

    assert "No event was captured that is called 'purchse'." in unknown_event
    assert "Not found." in missing
    assert "ABACUS_PROJECT" in missing
    assert '"status": "draft"' in created
    assert "There is already a feature flag with this key." in taken
    assert "ABACUS_API_KEY" in rejected


async def test_another_service_at_the_address_is_told() -> None:
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, text="<html>"))
    client = httpx.AsyncClient(transport=transport, base_url="http://other.test")
    async with Client(build_server(ExperimentApi(client, "1"))) as found:
        assert "http://other.test does not answer as Abacus does" in await call(found, "list_experiments")


async def test_command_serves_over_the_standard_streams() -> None:
    environment = {"ABACUS_URL": "http://127.0.0.1:9", "ABACUS_API_KEY": "phx_key"}
    command = StdioServerParameters(command=sys.executable, args=["-m", "app.cli", "mcp"], env=environment)

    async with Client(command) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        unreachable = await call(client, "list_experiments")

    assert tools == TOOLS
    assert "http://127.0.0.1:9 cannot be reached" in unreachable
    assert "Check ABACUS_URL." in unreachable
