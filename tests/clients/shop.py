"""People visit a shop and some buy, told by posthog-python; or who gets which variant, by its local evaluation.

Runs with whatever version its environment has. What to do comes as JSON on standard input; which variants the SDK saw
goes as JSON to standard output.
"""

import json
import logging
import sys
from typing import Any

from posthog.client import Client

Task = dict[str, Any]
Seen = dict[str, dict[str, object]]  # by user and flag


def visit(client: Client, task: Task) -> Seen:
    seen: Seen = {}
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
    return seen


def evaluate(client: Client, task: Task) -> Seen:
    def value(flag: str, user: str, plan: str) -> object:
        return client.get_feature_flag(
            flag,
            user,
            person_properties={"plan": plan},
            only_evaluate_locally=True,
            send_feature_flag_events=False,
        )

    plans = ["free" if number % 3 else "pro" for number in range(len(task["users"]))]
    return {
        user: {flag: value(flag, user, plan) for flag in task["flags"]}
        for user, plan in zip(task["users"], plans, strict=True)
    }


def main(task: Task) -> None:
    client = Client(task["token"], host=task["host"], personal_api_key=task["key"])
    act = evaluate if task["key"] else visit
    json.dump(act(client, task), sys.stdout)
    client.shutdown()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    main(json.load(sys.stdin))
