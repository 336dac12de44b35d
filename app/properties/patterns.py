"""Regular expressions of users, run by RE2 in linear time, so that no pattern hangs the service.

RE2 holds the interpreter while it compiles, for a few milliseconds at the largest size that is allowed, and releases it
while it searches.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, NamedTuple, TypeAlias

import re2

from app.common import limits
from app.properties.errors import InvalidFilter

_INSTRUCTION_BYTES: Final = 8
# RE2 refuses an expression whose instructions need two thirds of this. What they leave is for the states of a search:
# where it runs out, the search is slower by far, and takes the time that ``limits.PATTERN_WORK`` allows.
_MEMORY_BYTES: Final = 2 * limits.PATTERN_PROGRAM_BYTES.value
_TOO_LARGE: Final = f"its compiled form is larger than {limits.PATTERN_PROGRAM_BYTES.value:,} bytes"
_CACHED_BYTES: Final = 16 * limits.MIB
_ENTRY_BYTES: Final = limits.KIB


Find: TypeAlias = Callable[[str], bool]


class _Work:
    """What searches that belong together may still do: bytes times instructions."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = limits.PATTERN_WORK.value

    def take(self, length: int, instructions: int) -> int:
        """Return how many bytes of a text may be searched."""
        searched = min(length, self.left // instructions)
        self.left -= searched * instructions
        return searched


_work: ContextVar[_Work | None] = ContextVar("work of searches", default=None)


@contextmanager
def shared_work() -> Iterator[None]:
    """Let all searches inside share what one search may do; inside another such block nothing changes."""
    if _work.get() is not None:
        yield
        return
    token = _work.set(_Work())
    try:
        yield
    finally:
        _work.reset(token)


class Search(NamedTuple):
    """A compiled expression: ``found`` tests whether a text holds it. ``size`` is in bytes."""

    found: Find
    size: int


class _Refusal(NamedTuple):
    reason: str
    size: int = 0


def regular_expression(pattern: str) -> Search:
    """Return a case-sensitive search for a pattern anywhere in a text.

    Raises
    ------
    InvalidFilter
        For a pattern of more than 1000 characters, one that is too large when it is compiled, and one that RE2 does not
        support, such as look-around, back-references and repetitions above 1000.
    """
    check_length(pattern, "A regular expression")
    return _compile(pattern, pattern)


def search_expression(expression: str, written: str) -> Search:
    """Return a search for an expression that was derived from the text of a user.

    Raises
    ------
    InvalidFilter
        When the text is too long or RE2 refuses the expression; the error names the text.
    """
    check_length(written)
    return _compile(expression, written)


def check_length(text: str, subject: str = "A pattern") -> None:
    """Refuse a text that is too long for a pattern.

    Raises
    ------
    InvalidFilter
        Its ``detail`` begins with the subject.
    """
    longest = limits.PATTERN_CHARACTERS.value
    if len(text) > longest:
        raise InvalidFilter(f"{subject} may have at most {longest} characters, got {len(text)}: {text[:50]!r}...")


class _Cache:
    """The latest compiled expressions, up to a size in bytes, so that each is compiled once and not at each use."""

    def __init__(self, max_bytes: int) -> None:
        self._entries: OrderedDict[str, Search | _Refusal] = OrderedDict()
        self._max_bytes = max_bytes
        self._bytes = 0
        self._lock = threading.Lock()  # facts are made of events in threads

    def get(self, expression: str) -> Search | _Refusal:
        key = expression
        with self._lock:
            known = self._entries.get(key)
            if known is not None:
                self._entries.move_to_end(key)
                return known
        compiled = _run_compiler(expression)
        with self._lock:
            if key not in self._entries:
                self._entries[key] = compiled
                self._bytes += _cached_size(key, compiled)
            while self._bytes > self._max_bytes:
                self._bytes -= _cached_size(*self._entries.popitem(last=False))
        return compiled


def _cached_size(key: str, compiled: Search | _Refusal) -> int:
    return _ENTRY_BYTES + 4 * len(key) + compiled.size


_cache: Final = _Cache(_CACHED_BYTES)


def _compile(expression: str, written: str) -> Search:
    outcome = _cache.get(expression)
    if isinstance(outcome, _Refusal):
        shown = written[: limits.PATTERN_CHARACTERS.value]
        raise InvalidFilter(f"Invalid regular expression {shown!r}: {outcome.reason}")
    return outcome


def _run_compiler(expression: str) -> Search | _Refusal:
    if expression.count("\\p") + expression.count("\\P") > limits.PATTERN_CLASSES.value:
        return _Refusal(f"more than {limits.PATTERN_CLASSES.value} classes of Unicode characters")
    options = re2.Options()
    options.log_errors = False  # RE2 would write the patterns of users to standard error
    options.never_capture = True  # the state of groups would make expressions larger and searches slower
    options.max_mem = _MEMORY_BYTES
    try:
        # Bytes: for text the binding maps byte offsets to characters, which more than doubles the time of a search.
        program = re2.compile(expression.encode(), options)
    except re2.error as error:
        reason = error.args[0]
        reason = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        return _Refusal(_TOO_LARGE if reason.startswith("pattern too large") else reason)
    except UnicodeEncodeError:
        return _Refusal("not valid Unicode")
    instructions = program.programsize
    size = instructions * _INSTRUCTION_BYTES
    if size > limits.PATTERN_PROGRAM_BYTES.value:
        return _Refusal(_TOO_LARGE)
    # What RE2 leaves to the first search takes as long again as what it has done by now.
    _ = program.reverseprogramsize, program.search(b"")
    search, longest = program.search, limits.PATTERN_WORK.value // instructions

    def found(text: str) -> bool:
        searched = text.encode()
        work = _work.get()
        end = longest if work is None else work.take(len(searched), instructions)
        return search(searched[:end]) is not None

    return Search(found, size)
