"""Settings: what they accept, what stops the start, and their former names."""

import re
from pathlib import Path

import pytest
from pydantic import HttpUrl, ValidationError

from app.settings import Settings

FORMER_NAMES = {
    "ABACUS_DATABASE_WAIT": "ABACUS_DATABASE_POOL_TIMEOUT",
    "ABACUS_DATABASE_TIMEOUT": "ABACUS_DATABASE_STATEMENT_TIMEOUT",
    "ABACUS_MATERIALISE_INTERVAL": "ABACUS_REFRESH_INTERVAL",
}


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgres://ann:secret@db/abacus", "postgresql+asyncpg://ann:secret@db/abacus"),
        ("postgresql://ann@db:5433/abacus", "postgresql+asyncpg://ann@db:5433/abacus"),
        ("postgresql+asyncpg://db/abacus", "postgresql+asyncpg://db/abacus"),
        ("postgres://db/abacus?sslmode=require", "postgresql+asyncpg://db/abacus?ssl=require"),
        (
            "postgresql:///abacus?host=/run/postgresql",
            "postgresql+asyncpg:///abacus?host=%2Frun%2Fpostgresql&port=5432",
        ),
        ("postgresql:///abacus?host=/run/pg&port=6432", "postgresql+asyncpg:///abacus?host=%2Frun%2Fpg&port=6432"),
        ("sqlite:///abacus.db", "sqlite+aiosqlite:///abacus.db"),
        ("sqlite:////var/lib/abacus.db", "sqlite+aiosqlite:////var/lib/abacus.db"),
    ],
)
def test_usual_database_urls_are_accepted(given: str, used: str) -> None:
    assert Settings(database_url=given).database_url == used


@pytest.mark.parametrize(
    "refused",
    ["", "abacus.db", "mysql://db/abacus", "sqlite://", "sqlite:///:memory:", "postgres://db/a?sslmod=require"],
)
def test_other_database_urls_are_refused(refused: str) -> None:
    with pytest.raises(ValidationError):
        Settings(database_url=refused)


def test_refused_url_does_not_show_its_password() -> None:
    with pytest.raises(ValidationError) as refusal:
        Settings(database_url="postgres://ann:hunter2@db/abacus?channel=9")

    assert "hunter2" not in str(refusal.value)


def test_settings_do_not_show_the_password() -> None:
    assert "hunter2" not in repr(Settings(database_url="postgres://ann:hunter2@db/abacus"))


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABACUS_CORS_ALLOWED_ORIGINS", "https://a.example, https://b.example")

    assert Settings.from_environment().cors_allowed_origins == ["https://a.example", "https://b.example"]


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://Office.Example/", "https://office.example"),
        ("https://office.example:443", "https://office.example"),
        ("http://localhost:3000/", "http://localhost:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ("*", "*"),
    ],
)
def test_origins_are_read_as_browsers_send_them(given: str, used: str) -> None:
    assert Settings(cors_allowed_origins=[given]).cors_allowed_origins == [used]


@pytest.mark.parametrize(
    "refused",
    [
        "office.example",
        "//office.example",
        "https://office.example/app",
        "https://office.example//",
        "https://office.example?a=1",
        "https://ann@office.example",
        "https://*.example",
        "https://office.example:port",
        "https://",
        "null",
    ],
)
def test_origin_that_no_browser_sends_stops_the_start(refused: str) -> None:
    with pytest.raises(ValidationError, match="an origin looks like"):
        Settings(cors_allowed_origins=["https://a.example", refused])


@pytest.mark.parametrize("refused", ["https://shop.example", "shop.example:8000", "*", "*.example", "::1", "a/b"])
def test_host_that_no_request_names_stops_the_start(refused: str) -> None:
    with pytest.raises(ValidationError, match="a host looks like"):
        Settings(allowed_hosts=["shop.example", "[::1]", refused])


@pytest.mark.parametrize(
    "name",
    [name for name, field in Settings.model_fields.items() if field.annotation is float] + ["shutdown_timeout"],
)
@pytest.mark.parametrize("refused", ["inf", "1e400", "nan", "86401", "-1"])
def test_time_that_no_deployment_waits_stops_the_start(name: str, refused: str) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings.model_validate({name: refused})


def test_watchdog_that_ends_busy_processes_stops_the_start() -> None:
    with pytest.raises(ValidationError, match="0 turns it off"):
        Settings(watchdog_seconds=0.5)


def test_prefixes_that_contradict_each_other_stop_the_start() -> None:
    with pytest.raises(ValidationError, match="/b by ABACUS_ROOT_PATH, and /a by ABACUS_PUBLIC_URL"):
        Settings(public_url=HttpUrl("https://shop.example/a/"), root_path="/b")
    assert Settings(public_url=HttpUrl("https://shop.example/a/"), root_path="/a").prefix == "/a"
    assert Settings(public_url=HttpUrl("https://shop.example"), root_path="/a").prefix == "/a"


def test_unknown_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABACUS_DATABSE_URL", "sqlite:///abacus.db")

    with pytest.raises(ValueError, match="ABACUS_DATABSE_URL") as refusal:
        Settings.from_environment()

    assert all(current in str(refusal.value) for current in FORMER_NAMES.values())
    assert not any(re.search(rf"{former}\b", str(refusal.value)) for former in FORMER_NAMES)


def test_variables_of_clients_are_not_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ABACUS_URL", "ABACUS_API_KEY", "ABACUS_PROJECT"):
        monkeypatch.setenv(name, "1")

    assert Settings.from_environment() == Settings()


@pytest.mark.parametrize(("former", "current"), FORMER_NAMES.items())
@pytest.mark.parametrize("is_file", [False, True])
def test_former_name_of_a_setting_is_an_alias(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, former: str, current: str, *, is_file: bool
) -> None:
    field = current.removeprefix("ABACUS_").lower()
    (tmp_path / "value").write_text("7\n")
    if is_file:
        monkeypatch.setenv(f"{former}_FILE", str(tmp_path / "value"))
    else:
        monkeypatch.setenv(former, "7")

    assert getattr(Settings.from_environment(), field) == 7

    monkeypatch.setenv(current, "8")
    with pytest.raises(ValueError, match="set twice") as refusal:
        Settings.from_environment()
    assert re.search(rf"{former}(_FILE)?\b", str(refusal.value))
    assert re.search(rf"{current}\b", str(refusal.value))


def test_setting_is_read_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("p@ss/w0rd:?\n")
    monkeypatch.setenv("ABACUS_DATABASE_URL", "postgresql://ann@db/abacus")
    monkeypatch.setenv("ABACUS_DATABASE_PASSWORD_FILE", str(secret))

    settings = Settings.from_environment()

    assert settings.url.password == "p@ss/w0rd:?"  # noqa: S105
    assert "w0rd" not in repr(settings)


@pytest.mark.parametrize("value", [None, "by itself"])
def test_missing_file_and_a_setting_given_twice_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str | None
) -> None:
    monkeypatch.setenv("ABACUS_METRICS_TOKEN_FILE", str(tmp_path / "missing"))
    if value is not None:
        monkeypatch.setenv("ABACUS_METRICS_TOKEN", value)

    with pytest.raises((OSError, ValueError), match="missing" if value is None else "set twice"):
        Settings.from_environment()
