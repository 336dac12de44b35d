"""Regular expressions and LIKE patterns of users, run by RE2 in linear time, so that no pattern hangs the service."""

from collections.abc import Callable
from typing import TypeAlias

import re2

from app.properties.filters import InvalidFilter

Search: TypeAlias = Callable[[str], bool]

_LONGEST_PATTERN = 1000  # characters
_LIKE_WILDCARDS = {"%": ".*", "_": "."}


def regular_expression(pattern: str) -> Search:
    """Return a case-sensitive search for a pattern anywhere in a text.

    Raises
    ------
    InvalidFilter
        For a pattern of more than 1000 characters, and for one that RE2 does not support, such as look-around,
        back-references and repetitions above 1000.
    """
    if len(pattern) > _LONGEST_PATTERN:
        raise InvalidFilter(
            f"A regular expression may have at most {_LONGEST_PATTERN} characters, got {len(pattern)}:"
            f" {pattern[:50]!r}..."
        )
    return _compile(pattern, pattern, case_sensitive=True)


def contains_like(fragment: str) -> Search:
    r"""Return a function that tests whether a text is ``ILIKE '%fragment%'``.

    ``%`` in the fragment matches any text and ``_`` any character; ``\%``, ``\_`` and ``\\`` are literal.
    """
    pieces: list[str] = []
    characters = iter(fragment)
    for character in characters:
        if character == "\\":
            following = next(characters, "")
            literal = following if following and following in "%_\\" else "\\" + following
            pieces.append(re2.escape(literal))
        else:
            pieces.append(_LIKE_WILDCARDS.get(character) or re2.escape(character))
    found = _compile("".join(pieces), fragment, case_sensitive=False)
    if not fragment.isascii() or any(character in fragment for character in "%_\\"):
        return found
    lowered = fragment.lower()
    # Most fragments and texts are plain ASCII, for which a substring search is equivalent and ten times as fast.
    return lambda text: lowered in text.lower() if text.isascii() else found(text)


def search_expression(expression: str, written: str) -> Search:
    """Return a search for an expression that was derived from the text of a user.

    Raises
    ------
    InvalidFilter
        When the text is too long or RE2 refuses the expression; the error names the text.
    """
    if len(written) > _LONGEST_PATTERN:
        raise InvalidFilter(
            f"A pattern may have at most {_LONGEST_PATTERN} characters, got {len(written)}: {written[:50]!r}..."
        )
    return _compile(expression, written, case_sensitive=True)


def _compile(expression: str, written: str, *, case_sensitive: bool) -> Search:
    options = re2.Options()
    options.log_errors = False  # RE2 would write the patterns of users to standard error
    options.case_sensitive = case_sensitive
    options.dot_nl = not case_sensitive
    try:
        # Bytes: for text the binding maps byte offsets to characters, which more than doubles the time of a search.
        search = re2.compile(expression.encode(), options).search
    except re2.error as error:
        reason = error.args[0]
        reason = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise InvalidFilter(f"Invalid regular expression {written[:_LONGEST_PATTERN]!r}: {reason}") from error
    except UnicodeEncodeError as error:
        raise InvalidFilter(f"Invalid regular expression {written[:_LONGEST_PATTERN]!r}: not valid Unicode") from error

    def found(text: str) -> bool:
        return search(text.encode()) is not None

    return found
