"""Two requests to the application, whose traces are printed: a process has one provider of traces for good."""

import asyncio
import json
import sys

import httpx
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.main import create_app
from app.settings import Settings


async def ask(database: str) -> None:
    application = create_app(Settings(database_url=f"sqlite:///{database}", refresh_interval=0))
    transport = httpx.ASGITransport(app=application)
    async with (
        application.router.lifespan_context(application),
        httpx.AsyncClient(transport=transport, base_url="http://abacus.test") as client,
    ):
        await client.get("/_livez")
        await client.get("/nothing/?personal_api_key=phx_secret", headers={"X-Request-ID": "abc"})


def main() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    asyncio.run(ask(sys.argv[1]))
    spans = [[span.name, dict(span.attributes or {})] for span in exporter.get_finished_spans()]
    print(json.dumps(spans))  # noqa: T201  # to the test that started this process


if __name__ == "__main__":
    main()
