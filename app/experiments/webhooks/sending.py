"""Sends one delivery to its receiver: to an address that was checked, signed, without redirects, within bounds."""

import asyncio
import contextlib
import functools
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import httpx

from app import VERSION
from app.common import limits
from app.experiments.webhooks.addresses import Network, is_allowed, read_address
from app.experiments.webhooks.signing import EVENT_HEADER, EVENT_ID_HEADER, SIGNATURE_HEADER, sign

NOT_PUBLIC: Final = (
    "The host is, or resolves to, an address that is not public. ABACUS_WEBHOOK_ALLOWED_NETWORKS can allow its network."
)

WEBHOOK_TIMEOUT: Final[float] = limits.WEBHOOK_SECONDS.value
# A name server that does not answer holds a thread for half a minute, which is three attempts.
_RESOLVING_THREADS: Final = 3 * limits.WEBHOOKS_AT_A_TIME.value
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Outgoing:
    """What is sent."""

    url: str
    secret: str
    event: str
    event_id: str
    body: str


@dataclass(frozen=True)
class Outcome:
    """What became of an attempt: the status of the answer, if there was one; ``error`` is empty if it was taken."""

    response_status: int | None
    error: str


def host_of(url: str) -> str:
    """Return the host of a URL, as it is resolved."""
    return httpx.URL(url).raw_host.decode("ascii")


class _Refused(Exception):
    """An attempt that is not made, or has failed; its text says why."""


class Sender:
    """Sends deliveries. What a receiver answers is not kept, except for the status."""

    def __init__(self, allowed: Sequence[Network], clock: Callable[[], float] = time.time) -> None:
        self._allowed = allowed
        self._clock = clock
        # Names are resolved in threads of its own: a name server that does not answer must not hold those of others.
        self._threads = ThreadPoolExecutor(_RESOLVING_THREADS, thread_name_prefix="webhook-names")

    @functools.cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()

    async def send(self, outgoing: Outgoing) -> Outcome:
        """Make one attempt. A 2xx status is success; a redirect is not followed."""
        try:
            async with asyncio.timeout(WEBHOOK_TIMEOUT):
                status = await self._post(outgoing)
        except TimeoutError:
            return Outcome(None, limits.WEBHOOK_SECONDS.detail)
        except _Refused as refusal:
            return Outcome(None, str(refusal))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ssl.SSLError, ValueError) as error:
            return Outcome(None, f"The receiver could not be reached ({type(error).__name__}).")
        if 200 <= status < 300:
            return Outcome(status, "")
        redirected = " Redirects are not followed." if 300 <= status < 400 else ""
        return Outcome(status, f"The receiver answered {status}.{redirected}")

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _post(self, outgoing: Outgoing) -> int:
        url = httpx.URL(outgoing.url)
        host = host_of(outgoing.url)
        address = await self._resolve(host, url.port or _DEFAULT_PORTS[url.scheme])
        body = outgoing.body.encode()
        headers = {
            "Host": url.netloc.decode("ascii"),
            "Content-Type": "application/json",
            "User-Agent": f"Abacus-Webhooks/{VERSION}",
            EVENT_HEADER: outgoing.event,
            EVENT_ID_HEADER: outgoing.event_id,
            SIGNATURE_HEADER: sign(outgoing.secret, int(self._clock()), body),
        }
        context = await asyncio.to_thread(lambda: self._tls)  # reading certificates takes tens of milliseconds once
        async with (
            httpx.AsyncClient(verify=context, trust_env=False, timeout=WEBHOOK_TIMEOUT) as client,
            # The connection goes to the very address that was checked; the certificate is that of the name.
            client.stream(
                "POST",
                url.copy_with(host=address),
                content=body,
                headers=headers,
                extensions={"sni_hostname": host.strip("[]")},
            ) as response,
        ):
            return response.status_code  # the body is not read

    async def _resolve(self, host: str, port: int) -> str:
        """Return an address of a host; refuse it if any of its addresses is not allowed."""
        literal = read_address(host)
        found = [literal] if literal is not None else await self._addresses(host, port)
        if not found:
            raise _Refused("The host of the URL cannot be resolved.")
        if not all(is_allowed(address, self._allowed) for address in found):
            raise _Refused(NOT_PUBLIC)
        return str(found[0])

    async def _addresses(self, host: str, port: int) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
        resolve = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = []
        with contextlib.suppress(OSError, UnicodeError):
            found = await asyncio.get_running_loop().run_in_executor(self._threads, resolve)
        addresses = [read_address(str(where[0])) for *_, where in found]
        return [address for address in addresses if address is not None]
