"""The OpenAPI of the flag endpoints: requests are decoded from bytes, and responses depend on the version."""

from typing import Any, Final

JsonDict = dict[str, Any]  # a piece of OpenAPI

_PROPERTIES: Final = {"type": ["object", "null"], "additionalProperties": True}

_REQUEST_PROPERTIES: Final[JsonDict] = {
    "token": {"type": "string", "description": "The project's public token; also accepted as `api_key`."},
    "distinct_id": {"type": "string", "description": "The person's identifier, as the client knows them."},
    "$anon_distinct_id": {
        "type": ["string", "null"],
        "description": "The identifier that the person had before they logged in: flags that ensure continuity keep"
        " the variant of that time.",
    },
    "groups": {**_PROPERTIES, "description": "The keys of the person's groups, by the name of their type."},
    "person_properties": {**_PROPERTIES, "description": "They take precedence over stored properties."},
    "group_properties": {**_PROPERTIES, "description": "Properties of the person's groups, by the name of their type."},
    "flag_keys_to_evaluate": {
        "type": ["array", "null"],
        "items": {"type": "string"},
        "description": "Evaluate only these flags.",
    },
    "disable_flags": {
        "type": "boolean",
        "description": "Return no flags, only configuration; then `distinct_id` is not needed.",
    },
}
_REQUEST_EXAMPLE: Final[JsonDict] = {
    "token": "phc_3xAmPl3",
    "distinct_id": "ann",
    "groups": {"company": "acme"},
    "person_properties": {"country": "NL"},
}


def _request(*required: str) -> JsonDict:
    schema = {"type": "object", "required": list(required), "properties": _REQUEST_PROPERTIES}
    content = {"application/json": {"schema": schema, "example": _REQUEST_EXAMPLE}}
    return {"required": bool(required), "content": content}


flags_request: Final = _request("token")
decide_request: Final = _request()

_RECORD: Final[JsonDict] = {
    "key": "checkout",
    "enabled": True,
    "variant": "test",
    "reason": {"code": "condition_match", "condition_index": 0, "description": "Matched condition set 1"},
    "metadata": {"id": 8, "version": 1, "description": None, "payload": '{"color": "green"}', "has_experiment": False},
}
_VALUES: Final[JsonDict] = {
    "type": "object",
    "description": "True, false or the variant, by flag key.",
    "additionalProperties": {"type": ["boolean", "string"]},
}
_PAYLOADS: Final[JsonDict] = {
    "type": "object",
    "description": "Payloads as JSON texts, by flag key.",
    "additionalProperties": {"type": "string"},
}
_ERRORS: Final[JsonDict] = {
    "type": "boolean",
    "description": "Whether a flag could not be evaluated: clients then keep its previous value.",
}


def _response(description: str, properties: JsonDict, example: JsonDict) -> JsonDict:
    schema = {"type": "object", "properties": properties}
    return {"description": description, "content": {"application/json": {"schema": schema, "example": example}}}


flags_response: Final = _response(
    "The flags, in the form of the requested version.",
    {
        "flags": {"type": "object", "description": "Version 2: records by flag key.", "additionalProperties": True},
        "featureFlags": {**_VALUES, "description": "Version 1: true, false or the variant, by flag key."},
        "featureFlagPayloads": _PAYLOADS,
        "errorsWhileComputingFlags": _ERRORS,
        "requestId": {"type": "string", "format": "uuid"},
        "evaluatedAt": {"type": "integer", "description": "Milliseconds since 1970 UTC."},
    },
    {
        "flags": {"checkout": _RECORD},
        "errorsWhileComputingFlags": False,
        "requestId": "0188a7a0-0000-4000-8000-000000000001",
        "evaluatedAt": 1_667_300_000_000,
    },
)
decide_response: Final = _response(
    "The configuration of the client, and the flags in the form of the requested version.",
    {
        "featureFlags": {
            "description": "Version 1: the keys of enabled flags. 2: their values by key. 3: the values of all flags.",
            "anyOf": [{"type": "array", "items": {"type": "string"}}, _VALUES],
        },
        "featureFlagPayloads": _PAYLOADS,
        "errorsWhileComputingFlags": _ERRORS,
        "supportedCompression": {"type": "array", "items": {"type": "string"}},
    },
    {
        "config": {"enable_collect_everything": True},
        "toolbarParams": {},
        "isAuthenticated": False,
        "supportedCompression": ["gzip", "gzip-js", "lz64"],
        "sessionRecording": False,
        "siteApps": [],
        "featureFlags": {"checkout": "test"},
    },
)


def version_parameter(description: str, default: str) -> JsonDict:
    return {
        "name": "v",
        "in": "query",
        "required": False,
        "description": description,
        "schema": {"type": "string", "default": default, "examples": ["2"]},
    }


config_parameter: Final[JsonDict] = {
    "name": "config",
    "in": "query",
    "required": False,
    "description": "`true` adds the configuration of the client.",
    "schema": {"type": "string", "examples": ["true"]},
}
