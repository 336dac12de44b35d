"""Connections to PostgreSQL are encrypted, and its certificate is verified, as the URL says."""

import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.operations.outages.applications import running
from tests.operations.outages.postgresql_proxy import PostgresProxy
from tests.support.postgresql import PostgresServer
from tests.support.programs import require

CAPTURE = {"api_key": "phc_x", "event": "visit", "distinct_id": "ann"}


def new_certificate(folder: Path) -> Path:
    """Make a certificate for localhost that signs itself, ``cert.pem``; return it with its key."""
    openssl = require("openssl")
    folder.mkdir()
    path = folder / "server.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    files = ["-keyout", str(path), "-out", str(folder / "cert.pem")]
    subprocess.run([*command, *files], check=True, capture_output=True)
    path.write_text(path.read_text() + (folder / "cert.pem").read_text())
    return path


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return new_certificate(tmp_path / "own")


@pytest.fixture
async def encrypting(postgresql: PostgresServer, certificate: Path) -> AsyncIterator[PostgresProxy]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with PostgresProxy.before(postgresql.port, context) as proxy:
        yield proxy


async def test_encryption_is_enabled_by_the_url_of_hosting_providers(
    encrypting: PostgresProxy, postgresql_template: str
) -> None:
    url = f"postgres://postgres@localhost:{encrypting.port}/{postgresql_template}?sslmode=require"
    async with running(url, database_pool_timeout=30) as (client, _):
        assert (await client.post("/batch/", json=CAPTURE)).status_code == 401  # the token is none: it looked

    assert encrypting.encrypted > 0


async def test_server_with_an_untrusted_certificate_is_refused(
    encrypting: PostgresProxy,
    postgresql_template: str,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    stranger = new_certificate(tmp_path / "stranger")
    url = f"postgres://postgres@localhost:{encrypting.port}/{postgresql_template}?sslmode=verify-full"
    for trusted, status in ((certificate, 401), (stranger, 503)):
        monkeypatch.setenv("PGSSLROOTCERT", str(trusted.with_name("cert.pem")))
        async with running(url, database_pool_timeout=30) as (client, _):
            assert (await client.post("/batch/", json=CAPTURE)).status_code == status


async def test_server_without_encryption_is_refused(postgresql: PostgresServer, postgresql_template: str) -> None:
    url = f"postgres://postgres@127.0.0.1:{postgresql.port}/{postgresql_template}?sslmode=require"
    async with running(url, database_pool_timeout=30) as (client, _):
        assert (await client.post("/batch/", json=CAPTURE)).status_code == 503
