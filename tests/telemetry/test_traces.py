"""Traces, which the framework exports, do not contain query strings."""

import json
import subprocess
import sys

# Apart, because a process has one provider of traces for good.
SCRIPT = """
import asyncio, json, sys
import httpx
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from app.main import create_app
from app.settings import Settings

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)

async def main():
    application = create_app(Settings(database_url=f"sqlite:///{sys.argv[1]}", refresh_interval=0))
    async with application.router.lifespan_context(application):
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url="http://abacus.test") as client:
            await client.get("/_livez")
            await client.get("/nothing/?personal_api_key=phx_secret", headers={"X-Request-ID": "abc"})

asyncio.run(main())
print(json.dumps([[span.name, dict(span.attributes)] for span in exporter.get_finished_spans()]))
"""


def test_trace_contains_the_request_id_but_not_the_query_string(tmp_path: object) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, f"{tmp_path}/abacus.db"], capture_output=True, text=True, check=True, timeout=60
    )

    [[name, attributes]] = json.loads(done.stdout)
    assert name == "GET"
    assert attributes["abacus.request_id"] == "abc"
    assert attributes["http.response.status_code"] == 404
    assert "secret" not in done.stdout
