"""Configuration: every setting is an ``ABACUS_*`` environment variable."""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import parse_qsl, urlencode

from pydantic import AfterValidator, BeforeValidator, Field, HttpUrl, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

ENVIRONMENT_PREFIX = "ABACUS_"
_FILE = "_FILE"
# Former names of settings, which are accepted as aliases.
_FORMER_NAMES = {
    "database_wait": "database_pool_timeout",
    "database_timeout": "database_statement_timeout",
    "materialise_interval": "refresh_interval",
}

# What `abacus mcp` reads, which is a client: a shell may have both.
OF_CLIENTS = frozenset({"ABACUS_URL", "ABACUS_API_KEY", "ABACUS_PROJECT"})

# What libpq accepts in a URL and asyncpg's ``connect`` calls by another name.
_LIBPQ_TO_ASYNCPG = {"sslmode": "ssl"}
_ASYNCPG_PARAMETERS = frozenset({"ssl", "host", "port", "prepared_statement_cache_size"})
_HAS_A_SETTING = frozenset({"connect_timeout"})  # hosting providers add it; ABACUS_DATABASE_POOL_TIMEOUT decides
_POSTGRESQL_DRIVERS = frozenset({"postgres", "postgresql", "postgresql+asyncpg"})
_SQLITE_DRIVERS = frozenset({"sqlite", "sqlite+aiosqlite"})


def _name_the_driver(text: str) -> str:
    """Return the URL with the asynchronous driver that this service uses."""
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
        raise ValueError("an in-memory database does not outlive a connection: name a file, as in sqlite:///abacus.db")
    return f"sqlite+aiosqlite://{rest}"


def _postgresql_url(rest: str) -> str:
    address, _, query = rest.partition("?")
    parameters = {_LIBPQ_TO_ASYNCPG.get(name, name): value for name, value in parse_qsl(query, keep_blank_values=True)}
    parameters = {name: value for name, value in parameters.items() if name not in _HAS_A_SETTING}
    unknown = sorted(parameters.keys() - _ASYNCPG_PARAMETERS)
    if unknown:
        raise ValueError(f"the database URL has a parameter that is not supported: {unknown[0]!r}")
    if "host" in parameters:
        parameters.setdefault("port", "5432")  # asyncpg has no default port for a socket directory
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


_CLICKHOUSE_URL = re.compile(r"(?:clickhouses?|https?)://[^/?#]+(?:/[A-Za-z_][A-Za-z0-9_]*)?/?")


def _read_clickhouse_url(text: str | None) -> str | None:
    if not text:
        return None
    if _CLICKHOUSE_URL.fullmatch(text) is None:
        raise ValueError("the URL of ClickHouse must look like http://user@host:8123/database, or https://")
    return text


HOST: Final = r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]"  # a name, or an address of IPv6


def _read_host(text: str) -> str:
    if re.fullmatch(HOST, text) is None:
        raise ValueError("a host looks like example.com or [::1], without a scheme, a port or a wildcard")
    return text


Hosts = Annotated[list[Annotated[str, AfterValidator(_read_host)]], NoDecode, BeforeValidator(_split_on_commas)]

_LONGEST_SECONDS = 24 * 60 * 60  # more is a mistake, and databases take a timeout as a 32-bit number of milliseconds


def _read_watchdog(seconds: float) -> float:
    if 0 < seconds < 1:
        raise ValueError("less than a second ends processes that are only busy; 0 turns it off")
    return seconds


def _read_network(value: object) -> object:
    if value == "*":
        raise ValueError("'*' would mean every address; list the networks instead")
    if isinstance(value, str):
        return ipaddress.ip_network(value)  # its error names a value that is neither address nor network
    return value


Network = Annotated[ipaddress.IPv4Network | ipaddress.IPv6Network, BeforeValidator(_read_network)]
Networks = Annotated[list[Network], NoDecode, BeforeValidator(_split_on_commas)]

_ORIGIN = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._~-]+)(?::(?P<port>\d{1,5}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def _read_origin(text: str) -> str:
    """Return an origin as browsers send it: in lower case, without the default port and without a slash at its end."""
    if text == "*":
        return text
    origin = _ORIGIN.fullmatch(text.lower().removesuffix("/"))
    if origin is None:
        raise ValueError("an origin looks like https://example.com or https://example.com:8443, without a path")
    scheme, host, port = origin["scheme"], origin["host"], origin["port"]
    return f"{scheme}://{host}" if port in {None, _DEFAULT_PORTS.get(scheme)} else f"{scheme}://{host}:{port}"


Origins = Annotated[list[Annotated[str, AfterValidator(_read_origin)]], NoDecode, BeforeValidator(_split_on_commas)]

_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")


def _read_prefix(text: str) -> str:
    """Return the prefix without a slash at its end."""
    prefix = text.rstrip("/")
    if _PREFIX.fullmatch(prefix) is None:
        raise ValueError("a prefix looks like /abacus or /tools/abacus")
    if prefix.startswith("/api/") or prefix == "/api":
        raise ValueError("a prefix cannot be /api: the API of the service itself is below it")
    return prefix


def _validate_public_url(url: HttpUrl | None) -> HttpUrl | None:
    if url is not None:
        _read_prefix(url.path or "")
        if url.query is not None or url.fragment is not None or url.username is not None:
            raise ValueError("a public URL looks like https://example.com or https://example.com/abacus")
    return url


def _prefix_of(url: HttpUrl | None) -> str:
    return "" if url is None else (url.path or "").rstrip("/")


class Settings(BaseSettings):
    """The configuration of a deployment. Error messages do not contain values, which may be secret."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    database_url: Annotated[str, AfterValidator(_name_the_driver)] = Field(
        default="sqlite+aiosqlite:///./abacus.db",
        validate_default=True,
        repr=False,
        description="The database: `sqlite:///file.db` or `postgresql://user:password@host/name`.",
    )
    database_password: SecretStr | None = Field(
        default=None, description="The database password, not URL-encoded; overrides one in the URL."
    )
    database_pool_size: int = Field(
        default=5,
        ge=2,
        le=100,
        description="Size of each of the two connection pools of a process: one for lookups, one for everything else.",
    )
    clickhouse_url: Annotated[str | None, AfterValidator(_read_clickhouse_url)] = Field(
        default=None,
        repr=False,
        description="ClickHouse for the facts of metrics, beside PostgreSQL: `http://user@host:8123/database`, or"
        " `https://`. See the guide before you set it.",
    )
    clickhouse_password: SecretStr | None = Field(
        default=None, description="The password of ClickHouse, not URL-encoded; overrides one in the URL."
    )
    clickhouse_cluster: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$",
        description="The name of a cluster in the configuration of ClickHouse: tables are replicated and distributed.",
    )
    clickhouse_insert_quorum: int = Field(
        default=0, ge=0, description="Replicas that have to hold an insert before it is acknowledged; 0: one is enough."
    )
    event_retention_in_postgresql: int | None = Field(
        default=None,
        ge=1,
        le=36_500,
        description="Days after which events leave PostgreSQL, once they are in ClickHouse. Unset: they stay, and only"
        " facts are in ClickHouse.",
    )
    database_pgbouncer: bool = Field(
        default=False,
        description="Connect through PgBouncer in transaction mode: no prepared statement outlives its transaction, and"
        " no connection parameter is sent that PgBouncer refuses.",
    )
    database_pool_timeout: float = Field(
        default=5,
        gt=0,
        le=60,
        description="Seconds to wait for a free connection, for a new one to be accepted, or for the lock of SQLite.",
    )
    database_statement_timeout: float = Field(
        default=30,
        gt=0,
        le=_LONGEST_SECONDS,
        description="Seconds that one SQL statement may take. Set it below the read timeout of a proxy in front.",
    )
    results_timeout: float = Field(
        default=50,
        gt=0,
        le=_LONGEST_SECONDS,
        description="Seconds that a request for results, or for a page of them, may take. Set it below the read timeout"
        " of a proxy in front.",
    )
    migrate_on_start: bool = Field(
        default=False,
        description="Migrate a PostgreSQL schema when `abacus serve` starts. (An SQLite schema always is.)",
    )
    imports_directory: Path | None = Field(
        default=None,
        description="Directory of files that are uploaded to be imported, until they are, and of their refused lines;"
        " if unset, `abacus-imports` among the temporary files. Processes that serve one database share it.",
    )
    body_timeout: float = Field(
        default=15,
        gt=0,
        le=_LONGEST_SECONDS,
        description="Seconds to wait for the next part of a request body before the request is refused.",
    )
    max_connections: int = Field(
        default=1000,
        ge=10,
        le=100_000,
        description="Connections of clients that a process holds at a time; one more gets a 503.",
    )
    watchdog_seconds: Annotated[float, AfterValidator(_read_watchdog)] = Field(
        default=60,
        ge=0,
        le=_LONGEST_SECONDS,
        description="Seconds that the event loop of a process may stand still before the process is ended, with a stack"
        " dump in the log, and replaced; 0 turns that off.",
    )
    drain_seconds: float = Field(
        default=0,
        ge=0,
        le=_LONGEST_SECONDS,
        description="Seconds to keep serving after SIGTERM while `/_readyz` reports not ready, for load balancers.",
    )
    shutdown_timeout: int = Field(
        default=25,
        ge=1,
        le=_LONGEST_SECONDS,
        description="Seconds that running requests get to finish when the service stops.",
    )
    public_url: Annotated[HttpUrl | None, AfterValidator(_validate_public_url)] = Field(
        default=None,
        description="The address that clients use, with its prefix. All links begin with it.",
    )
    root_path: Annotated[str, AfterValidator(_read_prefix)] = Field(
        default="",
        description="The path prefix on the public host, such as `/abacus`, if `ABACUS_PUBLIC_URL` does not contain it."
        " The proxy may strip the prefix or keep it.",
    )
    trusted_proxies: Networks = Field(
        default=["127.0.0.1", "::1"],
        validate_default=True,
        description="Comma-separated addresses and networks of proxies whose forwarded headers are trusted.",
    )
    trust_forwarded_prefix: bool = Field(
        default=False,
        description="Trust `X-Forwarded-Prefix` of trusted proxies. Only for proxies that set or remove it: most"
        " proxies pass on the value that a client sends.",
    )
    allowed_hosts: Hosts = Field(
        default=[],
        description="Comma-separated host names that `Host` and `X-Forwarded-Host` may name; any if empty.",
    )
    rate_limit_enabled: bool = Field(
        default=False,
        description="Limit each key, per project and process, to 480 requests a minute and 4,800 an hour (240 and 1,200"
        " for results, events and persons). Capture and flags are not limited.",
    )
    cors_allowed_origins: Origins = Field(
        default=["*"],
        description="Comma-separated origins whose pages may call the private API, such as `https://office.example`."
        " `*` lets pages of any other origin read with a key that they send. Empty: no page may call.",
    )
    cookieless_visitors: bool = Field(
        default=True,
        description="Tell visitors of pages with `cookieless_mode` apart, for a day, by a hash of address, browser and"
        " site. If not, their events are stored without a person, and experiments do not count them.",
    )
    static_directory: Path | None = Field(
        default=None,
        description="A directory with the `dist` files of the npm package `posthog-js`, to be served below `/static/`.",
    )
    guide_directory: Path = Field(
        default=Path("build/guide"),
        description="The documentation as a site, made by `make docs-site`, to be served below `/guide/`. The image has"
        " it.",
    )
    refresh_interval: float = Field(
        default=10.0,
        ge=0,
        le=_LONGEST_SECONDS,
        description="Seconds between background refreshes of metric counts; 0 turns them off.",
    )
    webhook_allowed_networks: Networks = Field(
        default=[],
        description="Comma-separated private addresses and networks that webhooks may be sent to. Public addresses"
        " always are allowed, others only by this.",
    )
    metrics_token: SecretStr | None = Field(
        default=None,
        min_length=8,
        description="The bearer token that `/metrics` requires. If unset, `/metrics` does not exist.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="Lowest level to log. Requests are `info`, successful ones of SDKs `debug`, 5xx `warning`.",
    )

    @classmethod
    def from_environment(cls) -> Self:
        """Read the environment; an unknown ``ABACUS_*`` name is refused rather than ignored.

        ``ABACUS_NAME_FILE`` names a file that holds the value of ``ABACUS_NAME``, as orchestrators hand out secrets.
        """
        fields = {f"{ENVIRONMENT_PREFIX}{name}".upper(): name for name in cls.model_fields}
        fields |= {f"{ENVIRONMENT_PREFIX}{name}".upper(): field for name, field in _FORMER_NAMES.items()}
        values: dict[str, Any] = {}
        set_by: dict[str, str] = {}
        for variable in sorted(os.environ):
            name = variable.upper()
            if not name.startswith(ENVIRONMENT_PREFIX) or name in OF_CLIENTS:
                continue
            field = fields.get(name) or fields.get(name.removesuffix(_FILE))
            if field is None:
                known = sorted(f"{ENVIRONMENT_PREFIX}{field}".upper() for field in cls.model_fields)
                raise ValueError(f"unknown setting {variable!r}; valid settings are {', '.join(known)}")
            if field in set_by:
                raise ValueError(
                    f"{ENVIRONMENT_PREFIX}{field.upper()} is set twice, by {set_by[field]} and by {variable}"
                )
            set_by[field] = variable
            if name not in fields:
                values[field] = Path(os.environ[variable]).read_text().strip()
            elif name != f"{ENVIRONMENT_PREFIX}{field}".upper():
                values[field] = os.environ[variable]
        return cls(**values)

    @model_validator(mode="after")
    def _refuse_two_prefixes(self) -> Self:
        in_public_url = _prefix_of(self.public_url)
        if self.root_path and in_public_url not in {"", self.root_path}:
            raise ValueError(
                f"the prefix is {self.root_path} by ABACUS_ROOT_PATH, and {in_public_url} by ABACUS_PUBLIC_URL"
            )
        return self

    @model_validator(mode="after")
    def _require_postgresql(self) -> Self:
        if self.clickhouse_url is not None and self.uses_sqlite:
            raise ValueError("ABACUS_CLICKHOUSE_URL needs PostgreSQL in ABACUS_DATABASE_URL")
        if self.event_retention_in_postgresql is not None and self.clickhouse_url is None:
            raise ValueError("ABACUS_EVENT_RETENTION_IN_POSTGRESQL needs ABACUS_CLICKHOUSE_URL")
        return self

    @property
    def prefix(self) -> str:
        """The path prefix on the public host; empty at its root."""
        return self.root_path or _prefix_of(self.public_url)

    @property
    def url(self) -> URL:
        url = make_url(self.database_url)
        return url if self.database_password is None else url.set(password=self.database_password.get_secret_value())

    @property
    def uses_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"
