"""PostHog's own clients, each in several versions, as `make test-clients` installs them."""

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.clients.browser import Shop, go_shopping

HERE = Path(__file__).parent
INSTALLED = HERE.parent.parent / ".clients"
MODULES = INSTALLED / "node_modules"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
NODE_VERSIONS = {
    "5.70.0": "posthog-node",
    "4.18.0": "posthog-node-4",
    "2.2.3": "posthog-node-2.2",
    "1.3.0": "posthog-node-1.3",
}

Seen = dict[str, dict[str, object]]  # by user and flag


@dataclass(frozen=True)
class Visits:
    """Who visits the shop, and where that is told; ``folder`` is for what a client leaves behind."""

    host: str
    token: str
    users: Sequence[str]
    flags: Sequence[str]
    folder: Path
    key: str | None = None  # a personal one, for definitions to evaluate by

    @property
    def task(self) -> str:
        names = ("host", "token", "users", "flags", "key")
        return json.dumps({name: getattr(self, name) for name in names})


Client = Callable[[Visits], Seen]


def python_command(version: str, script: str) -> Sequence[str]:
    return str(INSTALLED / f"python-{version}/bin/python"), str(HERE / script)


def node_command(version: str, script: str) -> Sequence[str]:
    return "node", str(HERE / script), str(MODULES), NODE_VERSIONS[version]


def python(version: str, script: str = "shop.py") -> Client:
    return lambda visits: run(visits, *python_command(version, script))


def node(version: str, script: str = "shop.js") -> Client:
    return lambda visits: run(visits, *node_command(version, script))


def browser(module: str | None = None) -> Client:
    def visit(visits: Visits) -> Seen:
        file = MODULES / module if module else None
        return go_shopping(Shop(visits.host, visits.token, visits.users, visits.flags, file), CHROMIUM, visits.folder)

    return visit


def run(visits: Visits, *command: str) -> Seen:
    done = subprocess.run(command, input=visits.task, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    seen: Seen = json.loads(done.stdout.splitlines()[-1])  # old versions of posthog-node print more before it
    return seen


SNIPPET = "posthog-js 1.449.2, snippet"
CLIENTS: dict[str, Client] = {
    "posthog-python 7.91.1": python("7.91.1"),
    "posthog-python 2.2.0": python("2.2.0"),
    "posthog-node 5.70.0": node("5.70.0"),
    "posthog-node 2.2.3": node("2.2.3"),
    SNIPPET: browser(),
    "posthog-js 1.449.2": browser("posthog-js/dist/module.mjs"),
    "posthog-js 1.38.0": browser("posthog-js-1.38/dist/es.js"),
}
# They know whether a flag is on, and nothing of variants.
EARLY_CLIENTS: dict[str, Client] = {
    "posthog-python 1.4.9": python("1.4.9", "early.py"),
    "posthog-node 1.3.0": node("1.3.0", "early.js"),
}
# They send no variants with their events, as current SDKs of servers do unless they are told to.
SPENDING_CLIENTS: dict[str, Client] = {
    "posthog-python 7.91.1": python("7.91.1", "spend.py"),
    "posthog-node 5.70.0": node("5.70.0", "spend.js"),
}
