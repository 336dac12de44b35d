"""What events and requests say of visitors without cookies."""

from typing import NamedTuple

from app.common.json_text import storable_text, write_json
from app.events.capture.decoding.wire import load_json
from app.people.cookieless.visitors import ADDRESS, COOKIELESS, EXTRA, HOST, USER_AGENT, Visitor

_TRACES = frozenset({ADDRESS, USER_AGENT, EXTRA})
_IDENTIFIERS = ("distinct_id", "$distinct_id", "$device_id", "$anon_distinct_id")


class Sender(NamedTuple):
    """What a request says of who sent it.

    Attributes
    ----------
    address : str or None
        What events are to be given as ``$ip``, unless they have one.
    peer, user_agent, host : str
        The address, the browser and the site that the request came from, which are not stored.
    """

    address: str | None = None
    peer: str = ""
    user_agent: str = ""
    host: str = ""


def read_visitor(properties: str, sender: Sender) -> Visitor:
    """Return what an event says of its visitor, or else the request."""
    told = load_json(properties)
    found = told if isinstance(told, dict) else {}

    def text(name: str, otherwise: str = "") -> str:
        value = found.get(name)
        return storable_text(value) if isinstance(value, str | int | float) and value else otherwise

    return Visitor(
        address=text(ADDRESS, sender.peer),
        user_agent=text(USER_AGENT, sender.user_agent),
        host=text(HOST, sender.host),
        extra=text(EXTRA),
    )


def without_traces(properties: str) -> str:
    """Return properties without what tells visitors apart, and without the constant that stands for an identifier."""
    told = load_json(properties)
    if not isinstance(told, dict):
        return properties
    kept = {name: value for name, value in told.items() if name not in _TRACES}
    for name in _IDENTIFIERS:
        if kept.get(name) == COOKIELESS:
            del kept[name]
    return write_json(kept)
