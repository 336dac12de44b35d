"""Resolves client address, scheme, host and path prefix from forwarded headers of trusted proxies.

Unlike uvicorn's ProxyHeadersMiddleware it also handles host and prefix, comma lists in X-Forwarded-Proto and Unix
sockets, and stops at an unparsable hop. Headers count only if the peer is a proxy that the operator trusts. Since
proxies pass on headers that they do not set, host and prefix, which proxies commonly leave alone, need a setting each.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Final, TypeAlias

from starlette.types import ASGIApp, Receive, Scope, Send

from app.common.errors import InvalidHost
from app.http.exception_handlers import respond
from app.settings import HOST

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Sent: TypeAlias = Mapping[bytes, list[str]]  # the lines of each header

_PREFIX: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
_HOST: Final = re.compile(rf"(?P<name>{HOST})(?::[0-9]{{1,5}})?")
_READ: Final = frozenset(
    {b"host", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-prefix", b"x-forwarded-proto"}
)
_REMEMBERED_PROXIES: Final = 4096
_SCHEMES: Final = frozenset({"http", "https"})


class ProxyHeadersMiddleware:
    """Sets client, scheme, host and prefix of a request from the headers of trusted proxies; refuses unknown hosts.

    It has to be outside everything that reads a path. The prefix is put into ``root_path`` and at the beginning of
    ``path``, where the framework expects it, whether the proxy has stripped or kept it.

    Parameters
    ----------
    trusted
        Networks of proxies. A peer on a Unix socket has no address and is trusted.
    allowed_hosts
        Host names that requests may name; empty for any. ``X-Forwarded-Host`` counts only if they are given.
    prefix
        The path prefix on the public host, such as ``/abacus``.
    trusts_prefix
        Whether ``X-Forwarded-Prefix`` of a trusted proxy overrides ``prefix``.
    probes
        Paths whose host is not checked, because orchestrators call them by IP address.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        trusted: Sequence[Network],
        allowed_hosts: Set[str],
        prefix: str,
        trusts_prefix: bool,
        probes: Set[str],
    ) -> None:
        self._app = app
        self._trusted = tuple(trusted)
        self._proxies: set[str] = set()  # that sent requests; addresses of clients must not stay in the process
        self._allowed_hosts = frozenset(name.lower() for name in allowed_hosts)
        self._prefix = prefix
        self._trusts_prefix = trusts_prefix
        self._probes = probes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = dict(scope)
        sent = _read_headers(scope["headers"])
        prefix: str = self._prefix or scope.get("root_path", "")
        hosts = own_hosts = sent.get(b"host", [])
        peer = scope.get("client")
        if peer is None or self._is_proxy(peer[0]):
            _correct_scheme(scope, sent)
            self._correct_client(scope, sent)
            prefix = self._forwarded_prefix(sent) or prefix
            hosts = self._forwarded_host(sent) or hosts
        path: str = scope["path"]
        scope["root_path"] = prefix
        scope["path"] = path if path == prefix or path.startswith(f"{prefix}/") else prefix + path
        if scope["path"].removeprefix(prefix) not in self._probes:
            if not self._is_allowed(hosts, scope.get("http_version", "1.1")):
                await respond(InvalidHost())(scope, receive, send)
                return
            if hosts is not own_hosts:
                scope["headers"] = _with_host(scope["headers"], hosts[0])
        await self._app(scope, receive, send)

    def _is_proxy(self, text: str) -> bool:
        if text in self._proxies:
            return True
        address = _read_address(text)
        if address is None or not self._trusts(address):
            return False
        if len(self._proxies) < _REMEMBERED_PROXIES:
            self._proxies.add(text)
        return True

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)

    def _correct_client(self, scope: Scope, sent: Sent) -> None:
        """Walk back from the nearest proxy to the first untrusted address; earlier entries are client-supplied.

        An unparsable entry ends the walk, and the last address before it is the client.
        """
        for text in reversed(_tokens(sent, b"x-forwarded-for")):
            address = _read_address(text)
            if address is None:
                return
            scope["client"] = (str(address), 0)
            if not self._trusts(address):
                return

    def _forwarded_prefix(self, sent: Sent) -> str | None:
        prefix = sent.get(b"x-forwarded-prefix", [""])[0] if self._trusts_prefix else ""
        return prefix if _PREFIX.fullmatch(prefix) else None

    def _forwarded_host(self, sent: Sent) -> list[str]:
        """Return the host that the outermost proxy forwarded, if hosts are checked at all."""
        return _tokens(sent, b"x-forwarded-host")[:1] if self._allowed_hosts else []

    def _is_allowed(self, hosts: Sequence[str], http_version: str) -> bool:
        """Whether there is exactly one host and it is allowed. Health checks over HTTP/1.0 send none."""
        if not hosts and http_version == "1.0":
            return not self._allowed_hosts
        match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        return match is not None and (not self._allowed_hosts or match["name"].lower() in self._allowed_hosts)


def _read_headers(headers: Iterable[tuple[bytes, bytes]]) -> Sent:
    """Return the lines of the relevant headers. The others are not decoded, because every request passes here."""
    sent: dict[bytes, list[str]] = {}
    for name, value in headers:
        if name in _READ:
            sent.setdefault(name, []).append(value.decode("latin-1"))
    return sent


def _tokens(sent: Sent, name: bytes) -> list[str]:
    """Return the comma-separated values of a header, from all of its lines, in order."""
    return [token for line in sent.get(name, ()) for token in map(str.strip, line.split(",")) if token]


def _correct_scheme(scope: Scope, sent: Sent) -> None:
    scheme = (_tokens(sent, b"x-forwarded-proto") or [""])[-1].lower()
    if scheme in _SCHEMES:
        scope["scheme"] = scheme


def _with_host(headers: Iterable[tuple[bytes, bytes]], host: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", host.encode("latin-1")), *(header for header in headers if header[0] != b"host")]


def _read_address(text: str) -> Address | None:
    """Parse an address as proxies write it, with or without brackets and a port."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
