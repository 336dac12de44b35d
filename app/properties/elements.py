"""Element chains: the page elements that an autocaptured event carries, and conditions on them.

A chain is a text of elements from the innermost outwards, joined by semicolons:
``a.small:attr__href="/home"href="/home"nth-child="1"nth-of-type="0"text="Home";div.menu:nth-child="2"...``.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from app.properties.errors import InvalidFilter
from app.properties.filters import Condition
from app.properties.operators import Operator, text_of
from app.properties.patterns import Search, check_length, search_expression

ChainTest: TypeAlias = Callable[[str], bool]

CHAIN_PROPERTY: Final = "$elements_chain"
LIST_PROPERTY: Final = "$elements"

_NEGATIVE: Final[frozenset[Operator]] = frozenset({"is_not", "not_icontains", "not_regex", "is_not_set"})
_EQUALITY: Final[tuple[Operator, ...]] = ("exact", "is_not")
_OPERATORS: Final[Mapping[str, tuple[Operator, ...]]] = {
    "selector": _EQUALITY,
    "tag_name": _EQUALITY,
    **dict.fromkeys(
        ("href", "text"),
        (*_EQUALITY, "icontains", "not_icontains", "regex", "not_regex", "is_set", "is_not_set"),
    ),
}
# Inside an element, semicolons occur only in quotes.
_INSIDE: Final = r"""(?:[^;"]|"(?:[^"\\]|\\.)*")*?"""
_REST_OF_ELEMENT: Final = rf"{_INSIDE}(?:;|$)"
_OTHER_ELEMENTS: Final = r"(?:.*;)?"
_BLANK_OUTSIDE_BRACKETS: Final = re.compile(r"\s+(?![^\[]*\])")
_ATTRIBUTE: Final = re.compile(r"""\[([^=\]]+)=['"]?(.*?)['"]?\]""")
_NTH_CHILD: Final = re.compile(r":nth-child\(([^)]*)\)")
_LONGEST_TEXT: Final = 400
_LONGEST_LINK: Final = 2048


def chain_of(values: Mapping[str, bytes]) -> str:
    """Return the chain of an event from the raw tokens of its two properties; empty if there is none."""
    chain = _decode(values.get(CHAIN_PROPERTY))
    if not isinstance(chain, str):
        elements = _decode(values.get(LIST_PROPERTY))
        if not isinstance(elements, list):
            return ""
        chain = ";".join(_element(element) for element in elements if isinstance(element, dict))
    # A lone surrogate cannot be encoded as UTF-8.
    return chain if chain.isascii() else chain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def chain_searches(condition: Condition) -> list[Search]:
    """Return the searches of a condition, one for each value; see `chain_test`."""
    return [search_expression(f"(?s){expression}", text) for expression, text in _expressions(condition)]


def chain_test(condition: Condition) -> ChainTest:
    """Compile a condition on ``selector``, ``tag_name``, ``href`` or ``text``; one of several values suffices.

    Raises
    ------
    InvalidFilter
        For another key, an operator that the key does not support, and a pattern that RE2 refuses.
    """
    searches = [search.found for search in chain_searches(condition)]
    if (condition.operator in _NEGATIVE) != condition.negation:
        return lambda chain: not any(found(chain) for found in searches)
    return lambda chain: any(found(chain) for found in searches)


def _expressions(condition: Condition) -> Iterator[tuple[str, str]]:
    """Yield a regular expression for each value, with the value itself."""
    key, operator = condition.key, condition.operator
    known = _OPERATORS.get(key)
    if known is None:
        raise InvalidFilter(f"Elements do not have the property {key[:100]!r}: use {', '.join(_OPERATORS)}")
    if operator not in known:
        raise InvalidFilter(
            f"The operator {operator!r} is not available for {key} of an element; known are {', '.join(known)}"
        )
    for text in _texts(condition):
        check_length(text)  # before an expression is derived from it, which takes the square of its length
        if key == "selector":
            yield _selector(text), text
        elif key == "tag_name":
            yield rf"(?:^|;){re.escape(text)}(?:\.|$|;|:)", text
        else:
            yield _value(key, operator, text), text


def _texts(condition: Condition) -> Sequence[str]:
    if condition.operator in {"is_set", "is_not_set"}:
        return [""]
    values = condition.value if isinstance(condition.value, tuple) else (condition.value,)
    return [text_of(value) for value in values]


def _value(key: str, operator: Operator, text: str) -> str:
    escaped = re.escape(text.replace('"', '\\"'))
    inside = {
        "is_set": '[^"]+',
        "is_not_set": '[^"]+',
        "icontains": f'(?i:[^"]*{escaped}[^"]*)',
        "not_icontains": f'(?i:[^"]*{escaped}[^"]*)',
        "regex": f"(?:{text})",
        "not_regex": f"(?:{text})",
    }
    return f'{key}="{inside.get(operator, escaped)}"'


def _selector(selector: str) -> str:
    """Return the expression of a CSS selector: its parts from right to left, because chains begin innermost."""
    # A star between two child combinators cannot be checked, because chains do not contain all elements.
    bare = selector.replace("> * > ", "").replace("> *", "").strip()
    parts = [part for part in reversed(_BLANK_OUTSIDE_BRACKETS.split(bare)) if part]
    expression = "(?:^|;)"
    directly = True
    for position, part in enumerate(parts):
        if part == ">":
            directly = True
            continue
        expression += ("" if directly or position == 0 else _OTHER_ELEMENTS) + _part(part)
        directly = False
    return expression


def _part(part: str) -> str:
    attributes: dict[str, str] = {}
    for name, value in _ATTRIBUTE.findall(part):
        attributes["attr_id" if name == "id" else name] = value
    part = _ATTRIBUTE.sub("", part)
    for value in _NTH_CHILD.findall(part):
        attributes["nth-child"] = value
    tag, *classes = _NTH_CHILD.sub("", part).split(".")
    expression = ".+" if tag == "*" else re.escape(tag)
    expression += "".join(rf"{_INSIDE}\.{re.escape(name)}" for name in sorted(classes))
    for name, value in sorted(attributes.items()):
        expression += f'{_INSIDE}{re.escape(name)}="{re.escape(value)}"'
    return expression + _REST_OF_ELEMENT


def _element(element: Mapping[str, object]) -> str:
    """Return an element of the older list form, as chains write it."""
    classes = element.get("attr__class")
    names = classes.split(" ") if isinstance(classes, str) else classes if isinstance(classes, list) else []
    attributes = {
        "text": _text(element.get("$el_text"))[:_LONGEST_TEXT],
        "href": _text(element.get("attr__href"))[:_LONGEST_LINK],
        "attr_id": _text(element.get("attr__id")),
    }
    shown = {name: text for name, text in attributes.items() if text}
    shown["nth-child"] = _text(element.get("nth_child")) or "0"
    shown["nth-of-type"] = _text(element.get("nth_of_type")) or "0"
    shown |= {name: _text(value) for name, value in element.items() if name.startswith("attr__") and value is not None}
    written = "".join(f'{_escaped(name)}="{_escaped(text)}"' for name, text in sorted(shown.items()))
    dotted = "".join(f".{_text(name)}" for name in sorted(names, key=_text)).replace('"', "")
    return f"{_text(element.get('tag_name'))}{dotted}:{written}"


def _escaped(text: str) -> str:
    return text.replace('"', '\\"')


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _decode(raw: bytes | None) -> object:
    try:
        return None if raw is None else json.loads(raw.decode(errors="replace"), parse_float=str)
    except (ValueError, RecursionError):
        return None
