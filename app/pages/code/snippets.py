"""Code that asks for a flag, for a project's token and this service's address."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Snippet:
    """Code in one language. ``packages`` is the command that installs what it imports, if it imports anything."""

    name: str
    packages: str
    code: str


def write_snippets(host: str, token: str, key: str, variants: Sequence[str]) -> Sequence[Snippet]:
    """Return code for every language, for a flag with these variants; without any the flag is on or off."""
    tried = next((variant for variant in variants[1:]), "")
    return [
        Snippet("JavaScript", "npm install posthog-js", _javascript(host, token, key, tried)),
        Snippet("React", "npm install posthog-js", _react(host, token, key, tried)),
        Snippet("Node", "npm install posthog-node", _node(host, token, key, tried)),
        Snippet("Python", "pip install posthog", _python(host, token, key, tried)),
        Snippet("curl", "", _curl(host, token, key)),
    ]


def _javascript(host: str, token: str, key: str, variant: str) -> str:
    return f"""import posthog from "posthog-js";

posthog.init({_js(token)}, {{ api_host: {_js(host)} }});
posthog.onFeatureFlags(() => {{
  // This also reports that the visitor was shown the variant.
  if ({_js_test(f"posthog.getFeatureFlag({_js(key)})", variant)}) {{
    // what you try
  }} else {{
    // what there was
  }}
}});"""


def _react(host: str, token: str, key: str, variant: str) -> str:
    return f"""import posthog from "posthog-js";
import {{ PostHogProvider, useFeatureFlagVariantKey }} from "posthog-js/react";

posthog.init({_js(token)}, {{ api_host: {_js(host)} }});

function Page() {{
  // This also reports that the visitor was shown the variant.
  const variant = useFeatureFlagVariantKey({_js(key)});
  return {_js_test("variant", variant)} ? <New /> : <Old />;
}}

export default function App() {{
  return <PostHogProvider client={{posthog}}><Page /></PostHogProvider>;
}}"""


def _node(host: str, token: str, key: str, variant: str) -> str:
    return f"""import {{ PostHog }} from "posthog-node";

const posthog = new PostHog({_js(token)}, {{ host: {_js(host)} }});

// This also reports that the person was shown the variant.
const variant = await posthog.getFeatureFlag({_js(key)}, "the person's id");
if ({_js_test("variant", variant)}) {{
  // what you try
}}
posthog.capture({{
  distinctId: "the person's id",
  event: "purchase",
  properties: {{ {_js(f"$feature/{key}")}: variant }},
}});
await posthog.shutdown();"""


def _python(host: str, token: str, key: str, variant: str) -> str:
    return f"""from posthog import Posthog

posthog = Posthog({token!r}, host={host!r})

# This also reports that the person was shown the variant.
variant = posthog.get_feature_flag({key!r}, "the person's id")
if {f"variant == {variant!r}" if variant else "variant"}:
    ...  # what you try
posthog.capture("purchase", distinct_id="the person's id", properties={{{f"$feature/{key}"!r}: variant}})
posthog.shutdown()"""


def _curl(host: str, token: str, key: str) -> str:
    asked = json.dumps({"token": token, "distinct_id": "the person's id"})
    shown = {"$feature_flag": key, "$feature_flag_response": "the variant"}
    event = {"event": "$feature_flag_called", "distinct_id": "the person's id", "properties": shown}
    report = json.dumps({"api_key": token, **event})
    return f"""# The variant is in flags.{json.dumps(key)[1:-1]}.variant of the answer.
curl -H 'Content-Type: application/json' -d {shlex.quote(asked)} {shlex.quote(f"{host}/flags/?v=2")}

# Report that the person was shown it: only then do they take part.
curl -H 'Content-Type: application/json' -d {shlex.quote(report)} {shlex.quote(f"{host}/i/v0/e/")}"""


def _js(text: str) -> str:
    """Return a text as JavaScript writes it."""
    return json.dumps(text)


def _js_test(value: str, variant: str) -> str:
    return f"{value} === {_js(variant)}" if variant else value
