"""Flags of users as posthog-python of early 2022 evaluates them. Usage: as ``shop.py``."""

import json
import logging
import sys

from posthog.client import Client

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    task = json.load(sys.stdin)
    client = Client(task["token"], host=task["host"], personal_api_key=task["key"])
    seen = {user: {flag: client.feature_enabled(flag, user) for flag in task["flags"]} for user in task["users"]}
    client.shutdown()
    json.dump(seen, sys.stdout)
