"""Visits to the shop's page in headless Chromium: the page, its server on an origin of its own, and the browser."""

import json
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PAGE = (Path(__file__).parent / "shop.html").read_text()
# As the snippet that operators paste into their pages: the configuration waits where the SDK, once loaded, looks.
SNIPPET = """
<script>
  window.posthog = Object.assign([], { __SV: 1, _i: [[task.token, config]] });
</script>
<script async crossorigin="anonymous" src="{host}/static/array.js"></script>
"""
# As a page's own bundle.
BUNDLED = """
<script type="module">
  import posthog from "/sdk.js";
  posthog.init(task.token, config);
</script>
"""
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@dataclass
class Shop:
    """What the page's server knows and learns; ``module`` is the SDK as a module, None where the host has a copy."""

    host: str
    token: str
    users: Sequence[str]
    flags: Sequence[str]
    module: Path | None
    seen: dict[str, dict[str, object]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def page(self, number: int) -> str:
        task = {
            "host": self.host,
            "token": self.token,
            "flags": self.flags,
            "user": self.users[number],
            "buys": number % 2 == 0,
            "next": f"/visits/{number + 1}" if number + 1 < len(self.users) else None,
        }
        sdk = SNIPPET.replace("{host}", self.host) if self.module is None else BUNDLED
        return PAGE.replace("/* TASK */ null", json.dumps(task)).replace("<!-- SDK -->", sdk)

    def handle(self, path: str, body: bytes) -> tuple[str, bytes]:
        """Return the media type and the content of an answer."""
        if path == "/sdk.js" and self.module is not None:
            return "text/javascript", self.module.read_bytes()
        if path.startswith("/visits/"):
            return "text/html", self.page(int(path.rpartition("/")[2])).encode()
        if path == "/visited":
            user, seen = json.loads(body)
            self.seen[user] = seen
        if path == "/failed":
            self.failures.append(body.decode())
        if path in {"/over", "/failed"}:
            self.over.set()
        return "text/plain", b""


def go_shopping(shop: Shop, chromium: str, profile: Path) -> dict[str, dict[str, object]]:
    """Visit the page as one user after the other, in a browser that nobody used before; return what each saw."""
    with _serve(shop) as address, (profile / "chromium.log").open("w+") as log:
        command = [chromium, *QUIET, f"--user-data-dir={profile / 'profile'}", f"{address}/visits/0"]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            is_over = shop.over.wait(timeout=60)
        finally:
            process.terminate()
            process.wait(timeout=30)
        log.seek(0)
        assert is_over, f"the page was left at {list(shop.seen)}\n{log.read()[-2000:]}"
    assert shop.failures == []
    return shop.seen


@contextmanager
def _serve(shop: Shop) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the base class looks for this name
            kind, content = shop.handle(self.path, self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_arguments: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
