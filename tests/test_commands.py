"""The command line says what is wrong, where, and what to do; accounts are listed and secrets replaced by it."""

import asyncio
import contextlib
import json
import os
import re
import socket
import sqlite3
from pathlib import Path

import pytest

from app import VERSION
from tests.support.command_line import run_command
from tests.support.service import Service
from tests.test_cli import abacus

pytestmark = [pytest.mark.one_database, pytest.mark.own_database]


@pytest.fixture
def environment(database_url: str) -> dict[str, str]:
    return {**os.environ, "ABACUS_DATABASE_URL": database_url}


@pytest.fixture
def project(environment: dict[str, str]) -> dict[str, str]:
    made = abacus(environment, "project", "create", "--name", "Shop", "--email", "ann@example.com", "--json")
    found: dict[str, str] = json.loads(made)
    return found


def refused(environment: dict[str, str], *arguments: str) -> str:
    return " ".join(abacus(environment, *arguments, status=1).split())


def test_version_is_printed() -> None:
    assert run_command(["--version"], dict(os.environ)) == (0, f"abacus {VERSION}\n", "")


def test_ports_are_checked_before_the_start(environment: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        in_use = refused(environment, "serve", "--port", port)
    status, _, errors = run_command(["serve", "--port", "99999"], environment)

    assert f"cannot listen on 127.0.0.1:{port}: Address already in use." in in_use
    assert "choose another port with --port" in in_use
    assert (status, "65535" in errors) == (2, True)
    assert "not an address or a name of this machine" in refused(environment, "serve", "--host", "nowhere.invalid")


def test_database_that_cannot_be_used_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "abacus.db"
    of_file = {**environment, "ABACUS_DATABASE_URL": f"sqlite:///{missing}"}
    of_directory = {**environment, "ABACUS_DATABASE_URL": f"sqlite:///{tmp_path}"}
    of_server = {**environment, "ABACUS_DATABASE_URL": "postgresql://ann:secret@127.0.0.1:9/shop"}

    for command in (("serve",), ("user", "list")):
        told = refused(of_file, *command)
        assert f"the directory {missing.parent} of the database {missing} does not exist" in told
        assert f"the database {tmp_path} is a directory" in refused(of_directory, *command)
    told = refused(of_server, "user", "list")
    assert "the database postgresql+asyncpg://ann:***@127.0.0.1:9/shop cannot be used" in told
    assert "Check ABACUS_DATABASE_URL" in told
    assert "secret" not in told


def test_database_of_a_newer_version_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "abacus.db"
    environment = {**os.environ, "ABACUS_DATABASE_URL": f"sqlite:///{path}"}
    assert run_command(["migrate"], environment)[0] == 0
    with contextlib.closing(sqlite3.connect(path)) as newer, newer:
        newer.execute("UPDATE alembic_version SET version_num = 'fromthefuture'")
        newer.execute("ALTER TABLE series_fact RENAME TO other")

    told = {refused(environment, *command) for command in (("migrate",), ("user", "list"))}

    assert told == {
        "abacus: a newer version has migrated the database, and this one cannot work with it (no table series_fact): "
        "start the newer version"
    }


def test_accounts_are_listed_in_full(environment: dict[str, str], project: dict[str, str]) -> None:
    scopes = ["experiment:read", "feature_flag:write", "personal_api_key:read", "organization_member:read"]
    more = [part for scope in scopes for part in ("--scope", scope)]
    abacus(environment, "key", "create", "--email", "ann@example.com", "--label", "Reader", *more)
    abacus(environment, "user", "deactivate", "--email", "ann@example.com")

    assert " ".join(scopes) in abacus(environment, "key", "list", "--email", "ann@example.com")
    projects = abacus(environment, "project", "list")
    assert project["project_token"] in projects
    assert "Shop" in projects
    assert re.search(r"ann@example.com .* deactivated .* Shop", abacus(environment, "user", "list"))
    abacus(environment, "user", "activate", "--email", "ann@example.com")
    assert "deactivated" not in abacus(environment, "user", "list")
    assert "There is no user" in refused(environment, "user", "activate", "--email", "eve@example.com")


def test_names_are_printed_as_they_are(environment: dict[str, str]) -> None:
    name = "[/b] [red]" + "x" * 190
    made = abacus(environment, "project", "create", "--name", name, "--email", "ann@example.com")

    assert f"organization      {name}\n" in made
    assert name in abacus(environment, "project", "list")
    too_long = ("project", "create", "--name", f"{name}x", "--email", "ann@example.com")
    assert "--name: Ensure this field has no more than 200 characters." in refused(environment, *too_long)
    blank = ("key", "create", "--email", "ann@example.com", "--label", " ")
    assert "--label: This field may not be blank." in refused(environment, *blank)


async def test_secrets_are_replaced_and_the_old_ones_stop_working(
    environment: dict[str, str], service: Service
) -> None:
    [first] = (await service.client.get("/api/personal_api_keys/", headers=bearer(service.key))).json()
    rotate = ("project", "rotate-token", "--project", str(service.project_id), "--yes")
    key = (await asyncio.to_thread(abacus, environment, "key", "rotate", str(first["id"]))).strip()
    token = (await asyncio.to_thread(abacus, environment, *rotate)).strip()

    for value, status in ((token, 200), (service.token, 401)):
        body = {"api_key": value, "event": "visit", "distinct_id": "ann"}
        assert (await service.client.post("/capture/", json=body)).status_code == status
    for value, status in ((key, 200), (service.key, 401)):
        assert (await service.client.get(f"{service.project}/", headers=bearer(value))).status_code == status
    [rotated] = (await service.client.get("/api/personal_api_keys/", headers=bearer(key))).json()
    assert (rotated["id"], rotated["scopes"]) == (first["id"], first["scopes"])
    assert "There is no key 7." in await asyncio.to_thread(refused, environment, "key", "rotate", "7")
    rotate = ("project", "rotate-token", "--project", "7", "--yes")
    assert "There is no project 7." in await asyncio.to_thread(refused, environment, *rotate)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_what_is_not_an_email_or_a_date_is_refused(environment: dict[str, str]) -> None:
    told = refused(environment, "project", "create", "--name", "Shop", "--email", "notanemail")
    status, _, errors = run_command(["prune", "--before", "tomorrow"], environment)

    assert "--email 'notanemail' is not an e-mail address, such as ann@example.com" in told
    assert status == 2
    assert "Value error" not in errors
    assert "'tomorrow' is not a date" in errors


async def test_doctor_looks_at_the_storage(environment: dict[str, str], service: Service) -> None:
    """The service of this process has the database open."""
    assert await service.read("/experiments/")

    _, printed, _ = await asyncio.to_thread(run_command, ["doctor"], {**environment, "COLUMNS": "300"})

    assert re.search(r"^OK +size +the database has \d+ [KM]iB$", printed, re.MULTILINE)
    if not environment["ABACUS_DATABASE_URL"].startswith("sqlite"):
        return  # the disk and the processes are the server's
    assert re.search(r"^OK +disk +[\d.]+ [GM]iB free at /", printed, re.MULTILINE)
    assert re.search(rf"^OK +workers +open in 1 other process \({os.getpid()}\)$", printed, re.MULTILINE)


def test_shells_complete_commands(environment: dict[str, str]) -> None:
    asked = {**environment, "_ABACUS_COMPLETE": "complete_bash", "COMP_WORDS": "abacus pro", "COMP_CWORD": "1"}

    assert "project" in run_command([], asked)[1].split()
