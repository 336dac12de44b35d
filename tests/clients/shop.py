"""Runs in a virtual environment of its own, with whatever version of the SDK is there: people visit a shop, some buy.

What to do comes as JSON on standard input; which variants the SDK saw goes as JSON to standard output.
"""

import json
import logging
import sys
from typing import Any

from posthog.client import Client


def main(task: dict[str, Any]) -> None:
    client = Client(task["token"], host=task["host"])
    seen = {}
    for user in task["users"]:
        person = {"plan": "pro"}
        if hasattr(client, "identify"):
            client.identify(distinct_id=user, properties=person)
        else:  # newer versions call it so
            client.set(distinct_id=user, properties=person)
        seen[user] = {flag: client.get_feature_flag(flag, user) for flag in task["flags"]}
        client.capture(event="visit", distinct_id=user, send_feature_flags=True)
    client.flush()
    for user in task["users"][::2]:
        client.capture(event="purchase", distinct_id=user, send_feature_flags=True)
    client.shutdown()
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    main(json.load(sys.stdin))
