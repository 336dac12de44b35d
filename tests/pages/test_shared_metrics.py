"""The form of a shared metric: it asks before it deletes, and does not overwrite what another person changed."""

import re

from tests.pages.conftest import Page, Visitor
from tests.support.service import Service

BUY = {"kind": "EventsNode", "event": "purchase"}


async def test_shared_metric_is_not_overwritten_and_is_deleted_after_a_question(
    service: Service, visitor: Visitor
) -> None:
    body = {"name": "Buyers", "query": {"metric_type": "mean", "source": BUY}}
    metric = (await service.post("/experiment_saved_metrics/", body)).json()
    stored, path = f"/experiment_saved_metrics/{metric['id']}/", f"{visitor.path()}metrics/{metric['id']}/"

    async def send(page: Page, **fields: str) -> Page:
        """Send the form of a page as a browser would."""
        hidden = dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', page.response.text))
        return Page(await visitor.browser.post(path, data={**hidden, **fields}))

    mine = {"name": "Mine", "m0_kind": "mean", "m0_event": "purchase", "m0_math": "total"}
    opened = Page(await visitor.browser.get(path))
    assert (await service.patch(stored, {"name": "Theirs"})).status_code == 200

    refused = await send(opened, **mine)
    assert (refused.status, "changed by another person" in refused.text) == (409, True)
    assert 'value="Mine"' in refused.response.text
    stale = await send(await send(opened, do="delete"), do="delete")
    assert (stale.status, 'value="Theirs"' in stale.response.text) == (409, True)
    assert (await service.read(stored))["name"] == "Theirs"

    assert (await send(refused, **mine)).status == 303
    question = await send(Page(await visitor.browser.get(path)), do="delete")
    assert (question.status, "Delete this shared metric?" in question.text) == (200, True)
    assert (await service.read(stored))["name"] == "Mine"
    assert (await send(question, do="delete")).status == 303
    assert (await service.get(stored)).status_code == 404
