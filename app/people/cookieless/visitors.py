"""The identifiers of visitors without cookies.

Browsers that keep no identifier send a constant in its place. A visitor then gets one for a day: the hash of a secret
of that day with the project, the address, the browser and the site. The secret is forgotten, so that the hash says
nothing. This is how PostHog does it without state (PostHog/posthog, pull requests 25915 and 27290).
"""

import base64
import hashlib
import json
from typing import Final, NamedTuple

COOKIELESS: Final = "$posthog_cookieless"  # stands in place of an identifier, and is never one itself
PREFIX: Final = "cookieless_"
# What an event says of a visitor beyond its identifier: it is hashed, and not stored.
ADDRESS, USER_AGENT, HOST, EXTRA = "$ip", "$raw_user_agent", "$host", "$cookieless_extra"
SALT_BYTES: Final = 32
_EXTRA_CHARACTERS: Final = 100


class Visitor(NamedTuple):
    """What is known of a visitor: the address, the browser, the site, and what the site adds to tell visitors apart."""

    address: str
    user_agent: str
    host: str
    extra: str = ""

    @property
    def is_known(self) -> bool:
        """Whether that is enough to tell the visitor apart from others."""
        return bool(self.address and self.user_agent and self.host)


def identifier(salt: bytes, project_id: int, visitor: Visitor) -> str:
    """Return the distinct id of a visitor on the day of a salt."""
    told = [project_id, visitor.address, visitor.user_agent, site_of(visitor.host), visitor.extra[:_EXTRA_CHARACTERS]]
    digest = hashlib.blake2b(json.dumps(told).encode(), key=salt, digest_size=16).digest()
    return PREFIX + base64.urlsafe_b64encode(digest).decode().rstrip("=")


def is_cookieless(distinct_id: str) -> bool:
    """Whether a distinct id stands for a visitor without cookies, who is nobody else."""
    return distinct_id == COOKIELESS or distinct_id.startswith(PREFIX)


def site_of(host: str) -> str:
    """Return a host without scheme, path and port, as an event's ``$host`` and a request's ``Origin`` agree on it."""
    name = host.rpartition("://")[2].partition("/")[0].lower()
    if name.endswith("]"):  # an IPv6 address without a port
        return name
    head, colon, port = name.rpartition(":")
    return (head if colon and port.isdecimal() else name).rstrip(".")
