"""Evaluates flags by posthog-python's own evaluator, without a server: one question a line, one answer a line."""

import json
import logging
import sys
from typing import Any

from posthog.client import Client


def answer(client: Client, question: dict[str, Any]) -> dict[str, list[object]]:
    definitions = question["definitions"]
    if hasattr(client, "_update_flag_state"):
        client._update_flag_state(definitions)
    else:
        client.feature_flags = definitions["flags"]
        client.group_type_mapping = definitions["group_type_mapping"]
        client.cohorts = definitions["cohorts"]
    options = {name: question[name] for name in ("groups", "person_properties", "group_properties")}
    found = {}
    for flag in question["flags"]:
        result = client.get_feature_flag_result(
            flag,
            question["distinct_id"],
            only_evaluate_locally=True,
            send_feature_flag_events=False,
            **options,
        )
        if result is not None:
            found[flag] = [result.get_value(), result.payload]
    return found


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    client = Client("phc_1", host="http://127.0.0.1:9", send=False, sync_mode=True)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(client, json.loads(line))) + "\n")
        sys.stdout.flush()
