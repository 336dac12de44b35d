"""What is looked at before a command starts, and how its errors are told: what, where, and what to do."""

import asyncio
import contextlib
import datetime as dt
import os
import socket
from pathlib import Path
from typing import Final

import typer
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from app.db.database import Database
from app.db.errors import describe, is_transient_database_error
from app.settings import Settings

_REACH_SECONDS: Final = 2.0
_PREFIX_OF_PYDANTIC: Final = "Value error, "


def check_address(host: str, port: int) -> None:
    """Refuse an address that cannot be listened on.

    Raises
    ------
    ValueError
        Another program listens there, or it is not an address of this machine.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ValueError(f"--host {host!r} is not an address or a name of this machine") from error
    family, kind, protocol, _, address = found[0]
    with contextlib.closing(socket.socket(family, kind, protocol)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except PermissionError as error:
            raise ValueError(f"port {port} needs privileges: choose one above 1023 with --port") from error
        except OSError as error:
            raise ValueError(
                f"cannot listen on {host}:{port}: {error.strerror}. Stop the program that listens there, or choose "
                "another port with --port"
            ) from error


def check_database_file(settings: Settings) -> None:
    """Refuse an SQLite file whose directory is missing or may not be written to.

    Raises
    ------
    ValueError
    """
    if not settings.uses_sqlite or not settings.url.database:
        return
    path = Path(settings.url.database).absolute()
    if path.is_dir():
        raise ValueError(f"the database {path} is a directory: name a file in ABACUS_DATABASE_URL")
    if not path.parent.is_dir():
        raise ValueError(
            f"the directory {path.parent} of the database {path} does not exist: create it, or change "
            "ABACUS_DATABASE_URL"
        )
    place = path if path.exists() else path.parent
    if not os.access(place, os.W_OK):
        raise ValueError(f"{place} may not be written to by this user: change its owner, or ABACUS_DATABASE_URL")


def find_why_unreachable(settings: Settings) -> str:
    """Return why a database server cannot be reached at the moment; empty if it can."""

    async def reach() -> None:
        database = Database(settings)
        try:
            async with asyncio.timeout(_REACH_SECONDS), database.read() as session:
                await session.connection()
        finally:
            await database.close()

    try:
        asyncio.run(reach())
    except Exception as error:  # whatever it is, the operator has to know
        return tell_error(error, settings)
    return ""


def read_time(text: str) -> dt.datetime:
    """Return the time that an option gives, in UTC unless it says otherwise."""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a date: write 2026-01-31 or 2026-01-31T12:00:00, in UTC") from error
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


def tell_error(error: Exception, settings: Settings | None) -> str:
    """Return an expected error in one line; of a database that cannot be reached with its place, never a password."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return f"{place}: {first['msg'].removeprefix(_PREFIX_OF_PYDANTIC)}"
    text = str(error).partition("\n")[0] or type(error).__name__
    is_of_a_file = isinstance(error, OSError) and error.filename is not None
    is_refusal = isinstance(error, OSError | DBAPIError) or hasattr(error, "sqlstate")
    if settings is None or is_of_a_file or not is_refusal or not is_transient_database_error(error):
        return text
    url = settings.url.set(query={}).render_as_string(hide_password=True)
    return f"the database {url} cannot be used: {describe(error)}. Check ABACUS_DATABASE_URL, and that the server runs"
