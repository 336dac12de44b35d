"""Configuration: every setting is an ``ABACUS_*`` environment variable."""

import os
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import parse_qsl, urlencode

from pydantic import AfterValidator, BeforeValidator, Field, HttpUrl
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

ENVIRONMENT_PREFIX = "ABACUS_"

# What libpq accepts in a URL and asyncpg's ``connect`` calls by another name.
_LIBPQ_TO_ASYNCPG = {"sslmode": "ssl"}
_ASYNCPG_PARAMETERS = frozenset({"ssl", "host", "port", "prepared_statement_cache_size"})
_HAS_A_SETTING = frozenset({"connect_timeout"})  # hosting providers add it; ABACUS_DATABASE_WAIT decides
_POSTGRESQL_DRIVERS = frozenset({"postgres", "postgresql", "postgresql+asyncpg"})
_SQLITE_DRIVERS = frozenset({"sqlite", "sqlite+aiosqlite"})


def _name_the_driver(text: str) -> str:
    """Turn the URL that hosting providers hand out into one that names our asynchronous driver."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise ValueError("the database URL must look like postgresql://user@host/name or sqlite:///file.db")
    if scheme in _SQLITE_DRIVERS:
        return _sqlite_url(rest)
    if scheme in _POSTGRESQL_DRIVERS:
        return _postgresql_url(rest)
    raise ValueError(f"the database URL must start with postgresql:// or sqlite://, got {scheme!r}")


def _sqlite_url(rest: str) -> str:
    if rest.partition("?")[0] in ("", "/", "/:memory:"):
        raise ValueError("an in-memory database is lost between connections: name a file, as in sqlite:///abacus.db")
    return f"sqlite+aiosqlite://{rest}"


def _postgresql_url(rest: str) -> str:
    address, _, query = rest.partition("?")
    parameters = {_LIBPQ_TO_ASYNCPG.get(name, name): value for name, value in parse_qsl(query, keep_blank_values=True)}
    parameters = {name: value for name, value in parameters.items() if name not in _HAS_A_SETTING}
    unknown = sorted(parameters.keys() - _ASYNCPG_PARAMETERS)
    if unknown:
        raise ValueError(f"the database URL has a parameter that is not supported: {unknown[0]!r}")
    if "host" in parameters:
        parameters.setdefault("port", "5432")  # with a socket directory asyncpg looks for no port of its own
    url = f"postgresql+asyncpg://{address}" + (f"?{urlencode(parameters)}" if parameters else "")
    try:
        make_url(url)
    except (ArgumentError, ValueError) as error:
        raise ValueError("the database URL cannot be read") from error
    return url


def _split_on_commas(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


CommaSeparated = Annotated[list[str], NoDecode, BeforeValidator(_split_on_commas)]


class Settings(BaseSettings):
    """Values that a deployment may choose. Secrets stay out of error messages."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    database_url: Annotated[str, AfterValidator(_name_the_driver)] = Field(
        default="sqlite+aiosqlite:///./abacus.db",
        validate_default=True,
        repr=False,
        description="Where everything is stored: `sqlite:///file.db` or `postgresql://user:password@host/name`.",
    )
    database_pool_size: int = Field(
        default=5,
        ge=2,
        le=100,
        description="Database connections that a process may hold: so many for looking up, and as many for the rest.",
    )
    database_wait: float = Field(
        default=5,
        gt=0,
        le=60,
        description="Seconds to wait for a free connection, for the server to accept a new one, or for SQLite's lock.",
    )
    database_timeout: float = Field(
        default=30,
        gt=0,
        description="Seconds that one statement may take. Keep it below the time that a proxy in front waits.",
    )
    results_timeout: float = Field(
        default=50,
        gt=0,
        description="Seconds that one answer about results may take. Keep it below the time that a proxy waits.",
    )
    migrate_on_start: bool = Field(
        default=False,
        description="Let `abacus serve` bring a PostgreSQL schema up to date by itself (SQLite always does).",
    )
    body_timeout: float = Field(
        default=15, gt=0, description="Seconds to wait for the next piece of a request's body before it is given up."
    )
    drain_seconds: float = Field(
        default=0,
        ge=0,
        description="Seconds to go on serving after a signal to stop, not ready any more: load balancers see it.",
    )
    shutdown_timeout: int = Field(
        default=25, ge=1, description="Seconds that requests under way get to finish when the service stops."
    )
    public_url: HttpUrl | None = Field(
        default=None, description="The address clients use, for the `next` and `previous` links of lists."
    )
    cors_allowed_origins: CommaSeparated = Field(
        default=[], description="Origins, separated by commas, whose pages may call the private API."
    )
    static_directory: Path | None = Field(
        default=None,
        description="A directory with the `dist` files of the npm package `posthog-js`, served below `/static/` for"
        " pages that load the SDK from here.",
    )
    materialise_interval: float = Field(
        default=10.0, ge=0, description="Seconds between runs of the task that keeps results warm; 0 turns it off."
    )

    @classmethod
    def from_environment(cls) -> Self:
        """Read the environment; a misspelt ``ABACUS_*`` name is refused rather than ignored."""
        known = {f"{ENVIRONMENT_PREFIX}{name}".upper() for name in cls.model_fields}
        for name in sorted(os.environ):
            if name.upper().startswith(ENVIRONMENT_PREFIX) and name.upper() not in known:
                raise ValueError(f"unknown setting {name!r}; known are {', '.join(sorted(known))}")
        return cls()

    @property
    def url(self) -> URL:
        return make_url(self.database_url)

    @property
    def uses_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"
