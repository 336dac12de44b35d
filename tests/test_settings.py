from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings


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
def test_the_usual_database_urls_are_understood(given: str, used: str) -> None:
    assert Settings(database_url=given).database_url == used


@pytest.mark.parametrize(
    "refused",
    ["", "abacus.db", "mysql://db/abacus", "sqlite://", "sqlite:///:memory:", "postgres://db/a?sslmod=require"],
)
def test_other_database_urls_stop_the_start(refused: str) -> None:
    with pytest.raises(ValidationError):
        Settings(database_url=refused)


def test_a_refused_url_does_not_show_its_password() -> None:
    with pytest.raises(ValidationError) as refusal:
        Settings(database_url="postgres://ann:hunter2@db/abacus?channel=9")

    assert "hunter2" not in str(refusal.value)


def test_settings_do_not_show_the_password() -> None:
    assert "hunter2" not in repr(Settings(database_url="postgres://ann:hunter2@db/abacus"))


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABACUS_CORS_ALLOWED_ORIGINS", "https://a.example, https://b.example")

    assert Settings.from_environment().cors_allowed_origins == ["https://a.example", "https://b.example"]


def test_a_misspelled_setting_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABACUS_DATABSE_URL", "sqlite:///abacus.db")

    with pytest.raises(ValueError, match="ABACUS_DATABSE_URL"):
        Settings.from_environment()


def test_a_value_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("p@ss/w0rd:?\n")
    monkeypatch.setenv("ABACUS_DATABASE_URL", "postgresql://ann@db/abacus")
    monkeypatch.setenv("ABACUS_DATABASE_PASSWORD_FILE", str(secret))

    settings = Settings.from_environment()

    assert settings.url.password == "p@ss/w0rd:?"  # noqa: S105
    assert "w0rd" not in repr(settings)


@pytest.mark.parametrize("value", [None, "by itself"])
def test_a_file_that_is_not_there_or_one_too_many_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str | None
) -> None:
    monkeypatch.setenv("ABACUS_METRICS_TOKEN_FILE", str(tmp_path / "missing"))
    if value is not None:
        monkeypatch.setenv("ABACUS_METRICS_TOKEN", value)

    with pytest.raises((OSError, ValueError), match="missing" if value is None else "set twice"):
        Settings.from_environment()
