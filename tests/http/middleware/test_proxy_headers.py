"""Client, scheme, host and prefix from the headers of trusted proxies."""

from collections.abc import Mapping
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from app.http.middleware.proxy_headers import ProxyHeadersMiddleware
from app.main import create_app
from app.settings import Settings

EVIL = {
    "x-forwarded-for": "6.6.6.6",
    "x-forwarded-proto": "https",
    "x-forwarded-host": "evil.example",
    "x-forwarded-prefix": "/evil",
    "forwarded": "for=6.6.6.6;host=evil.example;proto=https",
}


async def seen(
    headers: Mapping[str, str] | list[tuple[str, str]],
    *,
    path: str = "/api/",
    peer: tuple[str, int] | None = ("10.0.0.1", 4000),
    http_version: str = "1.1",
    **chosen: Any,
) -> dict[str, Any]:
    """Return what the application behind gets to see, or the status by which the request was refused."""
    settings = Settings(**{"trusted_proxies": "10.0.0.0/8", **chosen})
    found: dict[str, Any] = {}

    async def application(scope: Scope, _receive: Receive, _send: Send) -> None:
        hosts = [value.decode() for name, value in scope["headers"] if name == b"host"]
        found.update(
            client=scope["client"] and scope["client"][0],
            scheme=scope["scheme"],
            host=",".join(hosts),
            prefix=scope["root_path"],
            path=scope["path"],
        )

    async def send(message: Message) -> None:
        found.setdefault("refused", message.get("status"))

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    items = headers if isinstance(headers, list) else list({"host": "shop.example", **headers}.items())
    scope = {
        "type": "http",
        "http_version": http_version,
        "method": "GET",
        "scheme": "http",
        "path": path,
        "root_path": "",
        "query_string": b"",
        "client": peer,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in items],
    }
    layer = ProxyHeadersMiddleware(
        application,
        trusted=settings.trusted_proxies,
        allowed_hosts=frozenset(settings.allowed_hosts),
        prefix=settings.prefix,
        trusts_prefix=settings.trust_forwarded_prefix,
        probes=frozenset({"/_livez"}),
    )
    await layer(scope, receive, send)
    return found


AS_SENT = {"client": "10.0.0.1", "scheme": "http", "host": "shop.example", "prefix": "", "path": "/api/"}


@pytest.mark.parametrize("chosen", [{}, {"trust_forwarded_prefix": True}, {"allowed_hosts": "shop.example"}])
async def test_headers_of_an_untrusted_peer_are_ignored(chosen: dict[str, Any]) -> None:
    assert await seen(EVIL, peer=("192.0.2.7", 1), **chosen) == {**AS_SENT, "client": "192.0.2.7"}


async def test_trusted_proxy_sets_only_client_and_scheme_by_default() -> None:
    assert await seen(EVIL) == {**AS_SENT, "client": "6.6.6.6", "scheme": "https"}


async def test_peer_on_a_unix_socket_is_trusted() -> None:
    assert (await seen({"x-forwarded-for": "192.0.2.7"}, peer=None))["client"] == "192.0.2.7"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("6.6.6.6, 192.0.2.7", "192.0.2.7"),
        ("6.6.6.6, 192.0.2.7, 10.0.0.9", "192.0.2.7"),
        ("10.0.0.8, 10.0.0.9", "10.0.0.8"),
        ("6.6.6.6, unknown, 10.0.0.9", "10.0.0.9"),
        ("6.6.6.6, unknown", "10.0.0.1"),
        ("192.0.2.7:5000", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]:5000", "2001:db8::7"),
        ("6.6.6.6, 192.0.2.7, ::ffff:10.0.0.9", "192.0.2.7"),
        (", ,", "10.0.0.1"),
        ("\xff\x00", "10.0.0.1"),
    ],
)
async def test_client_is_the_last_untrusted_address(forwarded: str, client: str) -> None:
    assert (await seen({"x-forwarded-for": forwarded}))["client"] == client


async def test_repeated_header_lines_are_joined() -> None:
    lines = [("host", "shop.example"), ("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.7")]

    assert (await seen(lines))["client"] == "192.0.2.7"


@pytest.mark.parametrize(
    ("forwarded", "scheme"), [("https", "https"), ("HTTPS", "https"), ("http, https", "https"), ("ftp", "http")]
)
async def test_scheme_is_that_of_the_nearest_proxy(forwarded: str, scheme: str) -> None:
    assert (await seen({"x-forwarded-proto": forwarded}))["scheme"] == scheme


@pytest.mark.parametrize(
    ("path", "prefix"),
    [("/api/", "/tools/abacus"), ("/tools/abacus/api/", "/tools/abacus"), ("/api/", "/tools/abacus/")],
)
@pytest.mark.parametrize("setting", ["root_path", "public_url"])
async def test_prefix_may_be_stripped_or_kept(path: str, prefix: str, setting: str) -> None:
    chosen: dict[str, Any] = {setting: prefix if setting == "root_path" else f"https://shop.example{prefix}"}

    found = await seen({}, path=path, **chosen)

    assert (found["prefix"], found["path"]) == ("/tools/abacus", "/tools/abacus/api/")


@pytest.mark.parametrize(
    ("forwarded", "prefix"),
    [("/abacus", "/abacus"), ("//evil.example", ""), ("/a b", ""), ("https://x", ""), ("/", "")],
)
async def test_forwarded_prefix_counts_if_it_is_trusted(forwarded: str, prefix: str) -> None:
    found = await seen({"x-forwarded-prefix": forwarded}, trust_forwarded_prefix=True)

    assert (found["prefix"], found["path"]) == (prefix, f"{prefix}/api/")


async def test_forwarded_host_counts_if_hosts_are_checked() -> None:
    sent = {"host": "backend:8000", "x-forwarded-host": "Shop.Example:8443, backend"}

    assert (await seen(sent, allowed_hosts="shop.example"))["host"] == "Shop.Example:8443"
    assert (await seen(sent))["host"] == "backend:8000"


@pytest.mark.parametrize(
    "sent",
    [
        [("host", "evil.example")],
        [("host", "shop.example.evil.example")],
        [("host", "shop.example"), ("x-forwarded-host", "evil.example")],
        [("host", "shop.example"), ("host", "shop.example")],
        [("host", "shop.example/path?")],
        [("host", "shop.example@evil.example")],
        [("host", "")],
        [],
    ],
)
async def test_unknown_host_is_refused(sent: list[tuple[str, str]]) -> None:
    assert await seen(sent, allowed_hosts="shop.example, shop.example.org") == {"refused": 400}


@pytest.mark.parametrize("sent", [[], [("host", "a"), ("host", "b")], [("host", "a b")], [("host", "a\n")]])
async def test_request_names_exactly_one_host(sent: list[tuple[str, str]]) -> None:
    assert await seen(sent) == {"refused": 400}


async def test_probe_may_use_any_host_or_none() -> None:
    assert (await seen([("host", "10.1.2.3")], path="/_livez", allowed_hosts="shop.example"))["path"] == "/_livez"
    assert (await seen([], path="/_livez", http_version="1.0"))["path"] == "/_livez"


async def test_http_1_0_needs_a_host_only_if_hosts_are_checked() -> None:
    assert (await seen([], http_version="1.0"))["host"] == ""
    assert await seen([], http_version="1.0", allowed_hosts="shop.example") == {"refused": 400}


@pytest.mark.parametrize(
    "refused",
    [
        {"trusted_proxies": "*"},
        {"trusted_proxies": "proxy.example"},
        {"trusted_proxies": "10.0.0.1/8"},
        {"root_path": "abacus"},
        {"root_path": "/api"},
        {"root_path": "//evil"},
        {"public_url": "https://shop.example/a%20b"},
        {"public_url": "https://shop.example/api/"},
        {"public_url": "https://shop.example/abacus?page=1"},
        {"public_url": "https://ann:secret@shop.example/"},
    ],
)
def test_invalid_proxy_settings_are_refused(refused: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(refused))) as refusal:
        create_app(Settings(**refused))  # type: ignore[arg-type]  # as text, as the environment has them

    assert "secret" not in str(refusal.value)
