"""The command that serves the tools, told by the environment where and as whom."""

import importlib.util
from collections.abc import Mapping


def serve(environment: Mapping[str, str]) -> None:
    """Serve over the standard streams until they are closed.

    Raises
    ------
    ValueError
        The environment names no service or no key, or the optional package is missing.
    """
    url, key = environment.get("ABACUS_URL", ""), environment.get("ABACUS_API_KEY", "")
    if not url.startswith(("http://", "https://")):
        raise ValueError("ABACUS_URL has to be the address of a running service, such as http://127.0.0.1:8000")
    if not key:
        raise ValueError("ABACUS_API_KEY has to be a personal API key: `abacus key create` prints one")
    if importlib.util.find_spec("mcp") is None:
        raise ValueError("the package mcp is missing: pip install 'abacus[mcp]'")
    from app.operations.mcp.api import ExperimentApi  # noqa: PLC0415  # they need the optional package
    from app.operations.mcp.server import build_server  # noqa: PLC0415

    build_server(ExperimentApi.at(url, key, environment.get("ABACUS_PROJECT", "@current"))).run("stdio")
