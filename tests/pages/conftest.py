"""A visitor with a browser, and experiments to show."""

import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest

from app.pages import dependencies
from app.pages.listing import service as verdicts
from tests.support.service import Service, event, exposure, sign_in


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine shows no page that says how far the counting is: time is measured in benchmarks."""
    monkeypatch.setattr(dependencies, "_SECONDS_UNTIL_PROGRESS", 60.0)
    monkeypatch.setattr(verdicts, "_SECONDS", 60.0)


@dataclass(frozen=True)
class Visitor:
    """A browser on the pages of a project: it keeps cookies and follows nothing by itself."""

    browser: httpx.AsyncClient
    project_id: int

    def path(self, experiment: Any = None) -> str:
        return f"/experiments/{self.project_id}/" + (f"{experiment['id']}/" if experiment else "")

    async def look(self, experiment: Any = None) -> "Page":
        return Page(await self.browser.get(self.path(experiment)))

    async def sign_in(self, key: str, path: str | None = None, **headers: str) -> httpx.Response:
        return await sign_in(self.browser, key, path or self.path(), **headers)


@dataclass(frozen=True)
class Page:
    response: httpx.Response

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def text(self) -> str:
        """What people read, in one line."""
        visible = re.sub(r"<(script|style|title)\b.*?</\1>", " ", self.response.text, flags=re.S)
        visible = re.sub(r"</?(code|bdi)\b[^>]*>", "", visible)  # inside of a sentence
        return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", visible)).split())

    @property
    def data(self) -> Any:
        """What the script that draws gets."""
        [text] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', self.response.text, re.S)
        return json.loads(text)

    @property
    def charts(self) -> dict[str, Any]:
        kinds = re.findall(r'data-kind="(\w+)"', self.response.text)
        return dict(zip(kinds, self.data, strict=True)) if kinds else {}

    @property
    def addresses(self) -> list[str]:
        """What the page links to, loads and sends forms to."""
        return re.findall(r'(?:href|src|action)="([^"]*)"', self.response.text)


class FormFields(HTMLParser):
    """What a browser sends of a form, without its buttons."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self._name = ""
        self._is_text = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        is_sent = given.get("type") != "checkbox" or "checked" in given
        if tag == "input" and is_sent and "name" in given:
            self.fields[given["name"]] = given.get("value", "")
        elif tag in {"select", "textarea"}:
            self._name, self._is_text = given["name"], tag == "textarea"
            if self._is_text:
                self.fields[self._name] = ""
        elif tag == "option" and self._name and ("selected" in given or self._name not in self.fields):
            self.fields[self._name] = given["value"]

    def handle_data(self, data: str) -> None:
        if self._is_text:
            self.fields[self._name] += data

    def handle_endtag(self, tag: str) -> None:
        if tag in {"select", "textarea"}:
            self._name, self._is_text = "", False


@pytest.fixture
async def stranger(service: Service) -> Visitor:
    """A visitor who has not signed in."""
    return Visitor(service.client, service.project_id)


@pytest.fixture
async def visitor(service: Service) -> Visitor:
    """A visitor who has signed in."""
    visitor = Visitor(service.client, service.project_id)
    assert (await visitor.sign_in(service.key)).status_code == 303
    return visitor


def shown(count: int, variant: str, flag: str = "checkout") -> list[dict[str, object]]:
    return [exposure(f"{variant}-{number}", variant, flag=flag) for number in range(count)]


def viewed(count: int, buyers: int, variant: str) -> list[dict[str, object]]:
    """Return a funnel's events: `count` persons enter, `buyers` of them buy."""
    entered = [event("$pageview", f"{variant}-{number}", variant=variant) for number in range(count)]
    return entered + [event("purchase", f"{variant}-{n}", "2022-11-03T09:00:00Z") for n in range(buyers)]


async def send(service: Service, events: Sequence[dict[str, object]]) -> None:
    for start in range(0, len(events), 500):
        await service.capture(*events[start : start + 500])


async def clear_win(service: Service, **fields: Any) -> Any:
    """Create a funnel experiment that ended with a variant that is clearly better."""
    experiment = await service.create_experiment(**fields)
    events = [*shown(400, "control"), *shown(400, "test"), *viewed(400, 40, "control"), *viewed(400, 120, "test")]
    await send(service, events)
    return experiment
