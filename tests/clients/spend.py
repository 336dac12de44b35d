"""Every second user buys after a flag was evaluated for all, told by posthog-python: events name no variant.

Usage: as shop.py.
"""

import json
import logging
import sys
from typing import Any

from posthog.client import Client


def main(task: dict[str, Any]) -> None:
    client = Client(task["token"], host=task["host"])
    seen = {}
    for number, user in enumerate(task["users"]):
        seen[user] = {flag: client.get_feature_flag(flag, user) for flag in task["flags"]}
        if number % 2 == 0:
            client.capture("purchase", distinct_id=user, properties={"amount": number + 1})
    json.dump(seen, sys.stdout)
    client.shutdown()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    main(json.load(sys.stdin))
