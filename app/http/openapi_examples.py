"""Composes examples of whole bodies from the examples of their fields."""

from collections.abc import Mapping
from typing import Any

JsonDict = dict[str, Any]  # a piece of OpenAPI

_SIMPLE: Mapping[str, object] = {"boolean": False, "null": None, "integer": 0, "number": 0.5}
_UUID = "0184305c-6f00-4000-8000-000000000000"


def compose(schema: JsonDict, schemas: Mapping[str, JsonDict]) -> Any:  # noqa: ANN401  # any JSON
    """Return an example of a schema, whose references are looked up in ``schemas``.

    Raises
    ------
    LookupError
        When a part of it has no example and none can be derived from its type.
    """
    for given in ("examples", "enum"):
        if given in schema:
            return schema[given][0]
    if "const" in schema:
        return schema["const"]
    if "$ref" in schema:
        return compose(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "anyOf" in schema:
        return compose(schema["anyOf"][0], schemas)
    return _compose_parts(schema, schemas)


def _compose_parts(schema: JsonDict, schemas: Mapping[str, JsonDict]) -> object:
    kind: str = schema["type"]
    if kind == "object":
        return {name: compose(field, schemas) for name, field in schema["properties"].items()}
    if kind == "array":
        return [compose(schema["items"], schemas)]
    if schema.get("format") == "uuid":
        return _UUID
    return _SIMPLE[kind]
