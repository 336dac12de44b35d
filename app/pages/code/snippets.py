"""Code that asks for a flag, for a project's token and this service's address."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Groups: TypeAlias = Mapping[str, str]


@dataclass(frozen=True)
class Snippet:
    """Code in one language. ``packages`` is the command that installs what it imports, if it imports anything."""

    name: str
    packages: str
    code: str


def write_snippets(
    host: str, token: str, key: str, variants: Sequence[str], group_type: str | None = None
) -> Sequence[Snippet]:
    """Return code for every language, for a flag with these variants; without any the flag is on or off.

    A flag that assigns groups of a type needs the type's name: it is off for callers that do not say their group.
    """
    tried = next((variant for variant in variants[1:]), "")
    groups = {} if group_type is None else {group_type: f"the {group_type}'s id"}
    return [
        Snippet("JavaScript", "npm install posthog-js", _javascript(host, token, key, tried, groups)),
        Snippet("React", "npm install posthog-js", _react(host, token, key, tried, groups)),
        Snippet("Node", "npm install posthog-node", _node(host, token, key, tried, groups)),
        Snippet("Python", "pip install posthog", _python(host, token, key, tried, groups)),
        Snippet("curl", "", _curl(host, token, key, groups)),
    ]


def _javascript(host: str, token: str, key: str, variant: str, groups: Groups) -> str:
    return f"""import posthog from "posthog-js";

posthog.init({_js(token)}, {{ api_host: {_js(host)} }});
{_join_group(groups)}posthog.onFeatureFlags(() => {{
  // This also reports that the variant was shown.
  if ({_js_test(f"posthog.getFeatureFlag({_js(key)})", variant)}) {{
    // what you try
  }} else {{
    // what there was
  }}
}});"""


def _react(host: str, token: str, key: str, variant: str, groups: Groups) -> str:
    return f"""import posthog from "posthog-js";
import {{ PostHogProvider, useFeatureFlagVariantKey }} from "posthog-js/react";

posthog.init({_js(token)}, {{ api_host: {_js(host)} }});
{_join_group(groups)}
function Page() {{
  // This also reports that the variant was shown.
  const variant = useFeatureFlagVariantKey({_js(key)});
  return {_js_test("variant", variant)} ? <New /> : <Old />;
}}

export default function App() {{
  return <PostHogProvider client={{posthog}}><Page /></PostHogProvider>;
}}"""


def _node(host: str, token: str, key: str, variant: str, groups: Groups) -> str:
    asked = f", {{ groups: {_js(groups)} }}" if groups else ""
    captured = f"\n  groups: {_js(groups)}," if groups else ""
    return f"""import {{ PostHog }} from "posthog-node";

const posthog = new PostHog({_js(token)}, {{ host: {_js(host)} }});

// This also reports that the variant was shown.
const variant = await posthog.getFeatureFlag({_js(key)}, "the person's id"{asked});
if ({_js_test("variant", variant)}) {{
  // what you try
}}
posthog.capture({{
  distinctId: "the person's id",
  event: "purchase",
  properties: {{ {_js(f"$feature/{key}")}: variant }},{captured}
}});
await posthog.shutdown();"""


def _python(host: str, token: str, key: str, variant: str, groups: Groups) -> str:
    said = f", groups={groups!r}" if groups else ""
    return f"""from posthog import Posthog

posthog = Posthog({token!r}, host={host!r})

# This also reports that the variant was shown.
variant = posthog.get_feature_flag({key!r}, "the person's id"{said})
if {f"variant == {variant!r}" if variant else "variant"}:
    ...  # what you try
posthog.capture("purchase", distinct_id="the person's id", properties={{{f"$feature/{key}"!r}: variant}}{said})
posthog.shutdown()"""


def _curl(host: str, token: str, key: str, groups: Groups) -> str:
    asked = json.dumps({"token": token, "distinct_id": "the person's id"} | ({"groups": groups} if groups else {}))
    shown: dict[str, object] = {"$feature_flag": key, "$feature_flag_response": "the variant"}
    if groups:
        shown["$groups"] = groups
    event = {"event": "$feature_flag_called", "distinct_id": "the person's id", "properties": shown}
    report = json.dumps({"api_key": token, **event})
    return f"""# The variant is in flags.{json.dumps(key)[1:-1]}.variant of the answer.
curl -H 'Content-Type: application/json' -d {shlex.quote(asked)} {shlex.quote(f"{host}/flags/?v=2")}

# Report that it was shown: only then does it count.
curl -H 'Content-Type: application/json' -d {shlex.quote(report)} {shlex.quote(f"{host}/i/v0/e/")}"""


def _join_group(groups: Groups) -> str:
    return "".join(f"posthog.group({_js(name)}, {_js(key)});\n" for name, key in groups.items())


def _js(value: str | Groups) -> str:
    """Return a text, or texts by their names, as JavaScript writes them."""
    return json.dumps(value)


def _js_test(value: str, variant: str) -> str:
    return f"{value} === {_js(variant)}" if variant else value
