"""The check of a signature that the documentation shows accepts what is genuine, and nothing else."""

import re
import time
from collections.abc import Callable
from typing import Any

from app.experiments.webhooks.delivery import PAUSES
from app.experiments.webhooks.events import EVENTS
from app.experiments.webhooks.signing import sign
from tests.support.programs import ROOT

PAGE = (ROOT / "docs/how-to/receive-webhooks.md").read_text()


def shown() -> Callable[..., bool]:
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102  # our own page
    found: Callable[..., bool] = names["is_genuine"]
    return found


def test_shown_check_accepts_what_is_genuine_alone() -> None:
    is_genuine, now, body = shown(), int(time.time()), b'{"event":"experiment.ended"}'
    header = sign("the-secret", now, body)

    assert is_genuine("the-secret", header, body)
    assert not is_genuine("another-secret", header, body)
    assert not is_genuine("the-secret", header, body + b" ")
    assert not is_genuine("the-secret", header.replace(f"t={now}", f"t={now + 1}"), body)
    assert not is_genuine("the-secret", sign("the-secret", now - 3600, body), body)


def test_page_names_every_event_and_pause() -> None:
    for event in EVENTS:
        assert f"`{event}`" in PAGE or f"`.{event.rpartition('.')[2]}`" in PAGE, event
    assert PAUSES == (10, 60, 300, 900, 3600, 3 * 3600, 8 * 3600)
    assert "10 seconds, 1, 5 and 15 minutes, 1, 3 and 8 hours" in " ".join(PAGE.split())
