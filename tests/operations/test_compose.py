"""``compose.yaml`` matches the service."""

from pathlib import Path

import yaml

from app.settings import ENVIRONMENT_PREFIX, Settings

COMPOSE = yaml.safe_load((Path(__file__).parents[2] / "compose.yaml").read_text())


def test_compose_names_settings_that_exist() -> None:
    names = {
        name.removeprefix(ENVIRONMENT_PREFIX).removesuffix("_FILE").lower()
        for name in COMPOSE["services"]["abacus"]["environment"]
    }

    assert names <= Settings.model_fields.keys()


def test_compose_runs_abacus_with_least_privilege() -> None:
    abacus = COMPOSE["services"]["abacus"]

    assert abacus["read_only"] is True
    assert abacus["cap_drop"] == ["ALL"]
    assert abacus["security_opt"] == ["no-new-privileges:true"]
    assert "ports" not in abacus  # only through the proxy


def test_caddy_passes_requests_to_the_service_by_its_name() -> None:
    assert "reverse_proxy abacus:8000" in COMPOSE["configs"]["caddyfile"]["content"]
