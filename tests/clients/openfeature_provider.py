"""Who gets which variant, by OpenFeature's own OFREP provider for Python.

What to do comes as JSON on standard input; what was seen goes as JSON to standard output.
"""

import json
import sys
from typing import Any

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext


def main(task: dict[str, Any]) -> None:
    headers = {"Authorization": f"Bearer {task['token']}", "X-Abacus-Track": "true"}
    api.set_provider(OFREPProvider(task["host"], headers_factory=lambda: headers))
    client = api.get_client()
    seen: dict[str, dict[str, object]] = {}
    for user in task["users"]:
        context = EvaluationContext(user, {"plan": "pro"})
        seen[user] = {flag: client.get_string_value(flag, "none", context) for flag in task["flags"]}
    context = EvaluationContext("anyone", {"plan": "pro"})
    free = EvaluationContext("anyone", {"plan": "free"})
    unknown = client.get_boolean_details("unknown", default_value=True, evaluation_context=context)
    seen["details"] = {
        "pro": client.get_boolean_value("pro-only", default_value=False, evaluation_context=context),
        "free": client.get_boolean_value("pro-only", default_value=True, evaluation_context=free),
        "off": client.get_boolean_value("switched-off", default_value=True, evaluation_context=context),
        "unknown": [unknown.value, str(getattr(unknown.error_code, "value", unknown.error_code))],
    }
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main(json.load(sys.stdin))
