"""Which JSON documents every database can store."""

import math
import re

MAX_JSON_DEPTH = 64
SURROGATE = re.compile("[\ud800-\udfff]")


def is_storable_json(value: object, depth: int = 0) -> bool:
    """Whether every database can store a document: finite numbers, no NUL, no lone surrogate, bounded depth."""
    if depth > MAX_JSON_DEPTH:
        return False
    if isinstance(value, str):
        return "\0" not in value and not SURROGATE.search(value)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list):
        return all(is_storable_json(item, depth + 1) for item in value)
    if isinstance(value, dict):
        return all(is_storable_json(k) and is_storable_json(item, depth + 1) for k, item in value.items())
    return True
