"""The flag properties of archived events: what nearly every metric reads, in a small column of their own.

ClickHouse makes the column of the properties: a JSON object of those that flags have, or an empty text where it cannot
tell. A value of which it cannot tell whether it is a string is ``UNSURE`` in it.
"""

from typing import Final

from app.db.clickhouse import literal

COLUMN: Final = "flag_properties"
UNSURE: Final = "[]"

_PREFIX: Final = "$feature"
_VARIANT_PREFIX: Final = "$feature/"
_OTHERS: Final = ("$feature_flag", "$feature_flag_response")

_MAX_TEXT_BYTES: Final = 400
# Brackets in a document: far fewer than a parser of either side can nest.
_MAX_BRACKETS: Final = 400
# Whether a document is of a kind that parsers may read differently.
IS_STRANGE: Final = (
    "greatest(NOT startsWith(properties, '{'), countSubstrings(properties, '[') + countSubstrings(properties, '{')"
    f" > {_MAX_BRACKETS:d})"
)


def is_flag_property(key: str) -> bool:
    """Whether the column has a property of events."""
    return key.startswith(_VARIANT_PREFIX) or key in _OTHERS


def expression() -> str:
    """Return the column in SQL.

    ClickHouse parses all properties to texts: ``true`` and ``"true"`` become one, as do numbers and strings of their
    digits, and lists and strings that begin like them.
    """
    texts = "JSONExtract(properties, 'Map(String, Nullable(String))')"
    is_flag = f"startsWith(key, {literal(_VARIANT_PREFIX)}) OR key IN ({', '.join(map(literal, _OTHERS))})"
    value = "assumeNotNull(value)"
    is_ambiguous = f"length({value}) > {_MAX_TEXT_BYTES:d} OR match({value}, '^(-?[0-9][-+.0-9eE]*$|[[{{])')"
    token = (
        f"multiIf(isNull(value), 'null', value IN ('true', 'false'), {value}, {is_ambiguous}, '{UNSURE}',"
        f" toJSONString({value}))"
    )
    member = f"if({is_flag}, concat(toJSONString(key), ':', {token}), '')"
    members = f"arrayMap((key, value) -> {member}, mapKeys({texts}), mapValues({texts}))"
    # ClickHouse finds the first one of a repeated key, and the last one counts.
    found = f"arrayReverse(arrayFilter(member -> member != '', {members}))"
    has_word = f"arrayExists(member -> endsWith(member, ':true') OR endsWith(member, ':false'), {found})"
    # A string that is one of the words, as it is or with its letters escaped.
    words = ", ".join(map(literal, ('"true"', '"false"', "\\u006", "\\u007")))
    return (
        f"multiIf({IS_STRANGE} OR JSONType(properties) != 'Object', '',"
        f" position(properties, {literal(_PREFIX)}) = 0 AND position(properties, {literal(chr(92))}) = 0, '{{}}',"
        f" empty(mapKeys({texts})) OR multiSearchAny(properties, [{words}]) AND {has_word}, '',"
        f" concat('{{', arrayStringConcat({found}, ','), '}}'))"
    )
