"""Entity tags: they tell a client whether what it is about to change is still what it read (RFC 9110)."""

import hashlib


def entity_tag(body: bytes) -> str:
    """Return a strong tag of a representation: equal bytes, equal tag."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def is_match(header: str, tag: str) -> bool:
    """Whether an ``If-Match`` header lets a request for the tagged object pass. Weak tags match nothing."""
    return any(given.strip() in ("*", tag) for given in header.split(","))


def is_known(header: str, tag: str) -> bool:
    """Whether an ``If-None-Match`` header says that the client has what is tagged. Weak tags count like strong ones."""
    return any(given.strip().removeprefix("W/") in ("*", tag) for given in header.split(","))
