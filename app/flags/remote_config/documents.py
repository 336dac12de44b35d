"""The configuration of the browser SDK, as JSON and as a script."""

import json

from app.flags.evaluation.responses import JsonDict, remote_config


def config_document(token: str, *, has_flags: bool) -> JsonDict:
    return {"token": token, **remote_config(has_flags=has_flags)}


def config_script(token: str, *, has_flags: bool) -> str:
    """Return a script that stores the configuration in the global variable that the SDK reads."""
    # "</" in a text would end the script of a page, so "<" is written as an escape, which JSON allows.
    name = _literal(token)
    entry = _literal({"config": config_document(token, has_flags=has_flags), "siteApps": []})
    return (
        "(function () {\n"
        "  window._POSTHOG_REMOTE_CONFIG = window._POSTHOG_REMOTE_CONFIG || {};\n"
        f"  window._POSTHOG_REMOTE_CONFIG[{name}] = {entry};\n"
        "})();\n"
    )


def _literal(value: object) -> str:
    return json.dumps(value).replace("<", "\\u003c")
