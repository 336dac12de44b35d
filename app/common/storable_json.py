"""Which JSON documents every database can store."""

import math
import re
from collections.abc import Sequence

MAX_JSON_DEPTH = 64
SURROGATE = re.compile("[\ud800-\udfff]")


def is_storable_json(value: object) -> bool:
    """Whether every database can store a document: finite numbers, no NUL, no lone surrogate, bounded depth."""
    level: list[object] = [value]
    texts: list[str] = []
    for _ in range(MAX_JSON_DEPTH + 1):  # level by level: a call for each value would take ten times as long
        inner: list[object] = []
        for item in level:
            if isinstance(item, str):
                texts.append(item)
            elif isinstance(item, list):
                inner += item
            elif isinstance(item, dict):
                texts += item
                inner += item.values()
            elif isinstance(item, float) and not math.isfinite(item):
                return False
        if not inner:
            return _are_storable(texts)
        level = inner
    return False


def _are_storable(texts: Sequence[str]) -> bool:
    text = "\n".join(texts)  # so that halves of a surrogate pair stay apart
    return "\0" not in text and (text.isascii() or not SURROGATE.search(text))
