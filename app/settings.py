"""Configuration: every setting is an ``ABACUS_*`` environment variable."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, urlencode

from pydantic import AfterValidator, BeforeValidator, Field, HttpUrl, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

ENVIRONMENT_PREFIX = "ABACUS_"
_FILE = "_FILE"

# What libpq accepts in a URL and asyncpg's ``connect`` calls by another name.
_LIBPQ_TO_ASYNCPG = {"sslmode": "ssl", "connect_timeout": "timeout"}
_ASYNCPG_PARAMETERS = frozenset({"ssl", "timeout", "host", "port", "command_timeout", "prepared_statement_cache_size"})
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
    database_password: SecretStr | None = Field(
        default=None, description="The password, if the URL shall not hold it: as it is, where a URL wants it encoded."
    )
    database_pool_size: int = Field(
        default=5,
        ge=2,
        le=100,
        description="Database connections that a process may hold: so many for looking up, and as many for the rest.",
    )
    migrate_on_start: bool = Field(
        default=False, description="Let `abacus serve` bring a PostgreSQL schema up to date first (SQLite always does)."
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
    metrics_token: SecretStr | None = Field(
        default=None,
        min_length=8,
        description="Lets whoever sends it as `Authorization: Bearer` read `/metrics`; unset, nobody can.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="What is logged: each request is `info`, and `warning` if it failed here."
    )

    @classmethod
    def from_environment(cls) -> Self:
        """Read the environment; a misspelt ``ABACUS_*`` name is refused rather than ignored.

        ``ABACUS_NAME_FILE`` names a file that holds the value of ``ABACUS_NAME``, as orchestrators hand out secrets.
        """
        fields = {f"{ENVIRONMENT_PREFIX}{name}".upper(): name for name in cls.model_fields}
        from_files: dict[str, Any] = {}
        for variable in sorted(os.environ):
            name = variable.upper()
            if not name.startswith(ENVIRONMENT_PREFIX) or name in fields:
                continue
            in_file = name.removesuffix(_FILE)
            if in_file == name or in_file not in fields:
                raise ValueError(f"unknown setting {variable!r}; known are {', '.join(sorted(fields))}")
            if in_file in map(str.upper, os.environ):
                raise ValueError(f"{in_file} is set twice, by itself and by {variable}")
            from_files[fields[in_file]] = Path(os.environ[variable]).read_text().strip()
        return cls(**from_files)

    @property
    def url(self) -> URL:
        url = make_url(self.database_url)
        return url if self.database_password is None else url.set(password=self.database_password.get_secret_value())

    @property
    def uses_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"
