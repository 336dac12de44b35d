"""A rolling restart of replicas behind a load balancer loses no request."""

import asyncio
import contextlib
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import settings_for
from tests.operations.outages.clients import Sender
from tests.operations.outages.processes import Serving, wait_for
from tests.operations.outages.test_crashes import BETWEEN, CLIENTS, new_token, stored
from tests.support.ports import free_port
from tests.support.postgresql import PostgresServer
from tests.support.programs import PATIENCE, answers, require

pytestmark = [pytest.mark.system, pytest.mark.exhaustive]

# A replica is tried until it answers; one that refuses connections costs nothing but the next attempt.
NGINX = """
daemon off; error_log stderr; pid {folder}/nginx.pid;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  upstream abacus {{ server 127.0.0.1:{first} max_fails=0; server 127.0.0.1:{second} max_fails=0; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://abacus; proxy_connect_timeout 2s; proxy_next_upstream error timeout; }}
  }}
}}
"""
HAPROXY = """
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  retries 3
  option redispatch 1
  retry-on conn-failure empty-response
frontend all
  bind 127.0.0.1:{port}
  default_backend abacus
backend abacus
  option httpchk GET /_readyz
  default-server check inter 200ms fall 1 rise 1
  server first 127.0.0.1:{first}
  server second 127.0.0.1:{second}
"""


@contextlib.contextmanager
def balancing(program: str, folder: Path, replicas: Sequence[int]) -> Iterator[str]:
    """Run a load balancer before the replicas; yield its address."""
    path, port = require(program), free_port()
    text = NGINX if program == "nginx" else HAPROXY
    configuration = folder / "balancer.conf"
    configuration.write_text(text.format(folder=folder, port=port, first=replicas[0], second=replicas[1]))
    command = [path, "-c", str(configuration)] if program == "nginx" else [path, "-f", str(configuration)]
    with (folder / "balancer.log").open("wb") as log:
        balancer = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(lambda: answers(f"{address}/_readyz"), folder / "balancer.log")
        yield address
    finally:
        balancer.terminate()
        balancer.wait(PATIENCE)


@pytest.mark.parametrize("program", ["nginx", "haproxy"])
async def test_rolling_restart_loses_no_request(
    postgresql: PostgresServer, postgresql_template: str, tmp_path: Path, program: str
) -> None:
    require(program)
    name = f"rolling_{program}"
    await postgresql.create_database(name, template=postgresql_template)
    url = postgresql.url(name)
    token = await new_token(settings_for(url))

    def start(port: int | None = None) -> Serving:
        return Serving(url, tmp_path / "log", port=port, drain_seconds="1", refresh_interval="0")

    with contextlib.ExitStack() as stack:
        replicas = [stack.enter_context(start()) for _ in range(2)]
        for replica in replicas:
            await asyncio.to_thread(replica.wait_until_ready)
        address = stack.enter_context(balancing(program, tmp_path, [replica.port for replica in replicas]))
        sender = Sender(address, token)
        sending = asyncio.create_task(sender.run(CLIENTS))
        for replica in replicas:
            await sender.acknowledgements(BETWEEN)
            assert await asyncio.to_thread(replica.stop) in {0, -signal.SIGTERM}
            await sender.acknowledgements(BETWEEN)
            again = stack.enter_context(start(replica.port))
            await asyncio.to_thread(again.wait_until_ready)
        await sender.acknowledgements(BETWEEN)
        sender.stop()
        await sending

    assert sender.answers.keys() == {200}
    assert await stored(url) == sorted(sender.sent)
    await postgresql.drop_database(name)
