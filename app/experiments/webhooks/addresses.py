"""Which addresses webhooks may be sent to: public ones, and those of networks that the operator allows."""

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64: Final = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")  # an IPv4 address behind zeros
# The platform endpoint of Azure: a public address that reaches only inside of the machine's own network.
_PLATFORMS: Final = frozenset({ipaddress.IPv4Address("168.63.129.16")})


def is_allowed(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether a webhook may be sent to an address.

    An IPv6 address that stands for an IPv4 one (mapped, 6to4, NAT64) is judged by that one, too: it is allowed
    only if both are.
    """
    return all(_is_public(one) or _is_within(one, allowed) for one in (address, *_embedded(address)))


def read_address(text: str) -> Address | None:
    """Return the address that a host of a URL is; None for a name."""
    try:
        return ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None


def _is_public(address: Address) -> bool:
    if next(_embedded(address), None) is not None:
        return True  # the embedded address decides
    is_site_local = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    return address.is_global and not address.is_multicast and not is_site_local and address not in _PLATFORMS


def _is_within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _embedded(address: Address) -> Iterator[Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    is_compatible = address in _COMPATIBLE and int(address) > 1
    if is_compatible or any(address in network for network in _NAT64):
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
