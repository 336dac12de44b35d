"""Limits of the pages."""

from typing import Final

from app.common.limits.limit import Limit

BROWSER_SESSIONS: Final = Limit(
    "sessions of a user on the pages",
    50,
    "items",
    "They are listed on one page, and each is a way in.",
    "a new one ends the one that was used longest ago",
)
SHARE_LINKS: Final = Limit(
    "links that share an experiment, at a time",
    100,
    "items",
    "They are listed on one page; a link can be given to any number of people.",
    "an error on the page",
    "An experiment may have at most {value} links at a time: revoke one first.",
)
