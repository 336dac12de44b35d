"""OpenFeature's own OFREP providers, unchanged: they get the variants that PostHog's SDKs get."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.browser import Shop, go_shopping
from tests.clients.clients import CHROMIUM, HERE, INSTALLED, MODULES, Client, Seen, Visits, run
from tests.clients.test_clients import FLAGS, SEEN, USERS, create_experiments, until_told
from tests.support.service import Service

pytestmark = pytest.mark.clients

SCOPE = "@openfeature"
PAGE = (HERE / "openfeature.html").read_text()


@dataclass
class OpenFeatureShop(Shop):
    """Serves the provider's modules as they are published."""

    def page(self, number: int) -> str:
        web, core = f"{SCOPE}/ofrep-web-provider", f"{SCOPE}/ofrep-core"
        nested = f"{web}/node_modules/{core}"
        files = {
            f"{SCOPE}/web-sdk": f"{SCOPE}/web-sdk/dist/esm/index.js",
            f"{SCOPE}/core": f"{SCOPE}/core/dist/esm/index.js",
            core: f"{nested if (MODULES / nested).exists() else core}/index.esm.js",
            web: f"{web}/index.esm.js",
        }
        imports = {name: f"/modules/{file}" for name, file in files.items()}
        task = {"host": self.host, "token": self.token, "users": self.users, "flags": self.flags}
        page = PAGE.replace("/* MODULES */ {}", json.dumps(imports))
        return page.replace("/* TASK */ null", json.dumps(task))

    def handle(self, path: str, body: bytes) -> tuple[str, bytes]:
        if path.startswith("/modules/"):
            return "text/javascript", (MODULES / path.removeprefix("/modules/")).read_bytes()
        return super().handle(path, body)


def browser(visits: Visits) -> Seen:
    shop = OpenFeatureShop(visits.host, visits.token, visits.users, visits.flags, None)
    return go_shopping(shop, CHROMIUM, visits.folder)


PROVIDERS: dict[str, Client] = {
    "Python": lambda visits: run(
        visits, str(INSTALLED / "python-openfeature-0.3.0/bin/python"), str(HERE / "openfeature_provider.py")
    ),
    "Node": lambda visits: run(visits, "node", str(HERE / "openfeature.js"), str(MODULES)),
    "web": browser,
}


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_provider_sees_what_sdks_see_and_exposures_are_counted(
    shop: Service, tmp_path: Path, provider: str
) -> None:
    await create_experiments(shop)
    pro = [{"key": "plan", "value": ["pro"], "operator": "exact", "type": "person"}]
    for flag in (
        {"key": "pro-only", "filters": {"groups": [{"properties": pro, "rollout_percentage": 100}]}},
        {
            "key": "switched-off",
            "active": False,
            "filters": {"groups": [{"properties": [], "rollout_percentage": 100}]},
        },
    ):
        assert (await shop.post("/feature_flags/", flag)).status_code == 201
    visits = Visits(str(shop.client.base_url), shop.token, USERS, FLAGS, tmp_path)

    seen = await asyncio.to_thread(PROVIDERS[provider], visits)
    details = seen.pop("details")
    hooked = 20 if provider == "web" else 22  # the hook of the page is added after the details were asked for
    events = await until_told(shop, {"$feature_flag_called": hooked})

    assert seen == SEEN
    assert details == {"pro": True, "free": False, "off": True, "unknown": [True, "FLAG_NOT_FOUND"]}
    reported = {
        (event["distinct_id"], event["properties"]["$feature_flag"]): event["properties"]["$feature_flag_response"]
        for event in events
        if event["distinct_id"] in USERS
    }
    assert reported == {(user, flag): value for user, values in SEEN.items() for flag, value in values.items()}
