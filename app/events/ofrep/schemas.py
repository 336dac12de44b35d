"""The OpenAPI of OFREP: requests are decoded from bytes."""

from typing import Any, Final

JsonDict = dict[str, Any]  # a piece of OpenAPI

_CONTEXT: Final[JsonDict] = {
    "type": "object",
    "required": ["context"],
    "properties": {
        "context": {
            "type": "object",
            "required": ["targetingKey"],
            "properties": {
                "targetingKey": {"type": "string", "description": "The distinct id of the person."},
                "$groups": {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                    "description": "The keys of the person's groups, by the name of their type.",
                },
            },
            "additionalProperties": True,
            "description": "All other attributes are properties of the person, and take precedence over stored ones.",
        }
    },
}
_EXAMPLE: Final[JsonDict] = {"context": {"targetingKey": "ann", "country": "NL"}}
_FLAG: Final[JsonDict] = {
    "type": "object",
    "required": ["key", "reason", "variant", "metadata"],
    "properties": {
        "key": {"type": "string"},
        "value": {
            "type": ["boolean", "string"],
            "description": "The variant's key, or whether a flag without variants is on. Without it the application "
            "uses its default: the flag is off, or the person gets no variant.",
        },
        "reason": {"type": "string", "enum": ["STATIC", "TARGETING_MATCH", "SPLIT", "DEFAULT", "DISABLED"]},
        "variant": {"type": "string"},
        "metadata": {
            "type": "object",
            "description": "`flag_id`, `has_experiment`, and `payload` as JSON text if there is one.",
        },
    },
}
_FLAG_EXAMPLE: Final[JsonDict] = {
    "key": "checkout",
    "value": "test",
    "reason": "SPLIT",
    "variant": "test",
    "metadata": {"flag_id": 8, "has_experiment": True},
}
_ERROR: Final[JsonDict] = {
    "type": "object",
    "required": ["errorCode", "errorDetails"],
    "properties": {
        "key": {"type": "string"},
        "errorCode": {
            "type": "string",
            "enum": ["PARSE_ERROR", "TARGETING_KEY_MISSING", "INVALID_CONTEXT", "GENERAL", "FLAG_NOT_FOUND"],
        },
        "errorDetails": {"type": "string"},
    },
}


def _answer(description: str, schema: JsonDict, example: JsonDict) -> JsonDict:
    return {"description": description, "content": {"application/json": {"schema": schema, "example": example}}}


def _refusal(description: str, code: str, details: str, **key: str) -> JsonDict:
    return _answer(description, _ERROR, {**key, "errorCode": code, "errorDetails": details})


_KEY_MISSING = "The context needs a `targetingKey`: the distinct id of the person."
_TAG: Final = {"ETag": {"description": "Identifies this answer.", "schema": {"type": "string"}}}

single_request: Final[JsonDict] = {
    "required": True,
    "content": {"application/json": {"schema": _CONTEXT, "example": _EXAMPLE}},
}
bulk_request: Final = single_request
track_parameters: Final[list[JsonDict]] = [
    {
        "name": "key",
        "in": "path",
        "required": True,
        "schema": {"type": "string"},
        "example": "checkout",
        "description": "The flag's key.",
    },
    {
        "name": "track",
        "in": "query",
        "schema": {"type": "boolean", "default": False},
        "description": "Whether the evaluation is stored as an exposure.",
    },
]
single_answers: Final[dict[int | str, JsonDict]] = {
    200: _answer("The evaluated flag.", _FLAG, _FLAG_EXAMPLE),
    400: _refusal("The context is not understood.", "TARGETING_KEY_MISSING", _KEY_MISSING, key="checkout"),
    404: _refusal("The project has no such flag.", "FLAG_NOT_FOUND", "There is no flag with this key.", key="checkout"),
}
bulk_answers: Final[dict[int | str, JsonDict]] = {
    200: {
        **_answer(
            "The evaluated flags.",
            {"type": "object", "required": ["flags"], "properties": {"flags": {"type": "array", "items": _FLAG}}},
            {"flags": [_FLAG_EXAMPLE]},
        ),
        "headers": _TAG,
    },
    304: {"description": "Nothing differs: `If-None-Match` holds the `ETag`."},
    400: _refusal("The context is not understood.", "TARGETING_KEY_MISSING", _KEY_MISSING),
}
