"""Scopes of personal API keys: ``object:action``, or ``*`` for all."""

from collections.abc import Collection
from typing import Final, Literal, TypeAlias, get_args

ScopeObject: TypeAlias = Literal[
    "action",
    "cohort",
    "event",
    "experiment",
    "feature_flag",
    "group",
    "organization",
    "organization_member",
    "person",
    "personal_api_key",
    "project",
    "user",
    "webhook",
]
ScopeAction: TypeAlias = Literal["read", "write"]

EVERYTHING: Final = "*"
SCOPES: Final = tuple(f"{name}:{action}" for name in get_args(ScopeObject) for action in get_args(ScopeAction))
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def scope_for(name: ScopeObject, method: str, action: ScopeAction | None = None) -> str:
    """Return the scope that a method on objects of a kind requires; ``action`` overrides the one of the method."""
    return f"{name}:{action or ('read' if method in _SAFE_METHODS else 'write')}"


def covers(granted: Collection[str], needed: str) -> bool:
    """Whether the granted scopes include a needed one. ``write`` includes ``read``."""
    name, _, action = needed.partition(":")
    return EVERYTHING in granted or needed in granted or (action == "read" and f"{name}:write" in granted)


def find_unknown(scopes: Collection[str]) -> str | None:
    return next((scope for scope in scopes if scope != EVERYTHING and scope not in SCOPES), None)
