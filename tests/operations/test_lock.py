"""The locks of the image and of its guide: what pyproject.toml asks for, with hashes, for every supported Python."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.programs import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
# What each lock has to satisfy, and the least number of its packages.
LOCKS = {
    "requirements.lock": ([*PROJECT["dependencies"], *EXTRAS["otel"], *EXTRAS["zstd"], *EXTRAS["clickhouse"]], 40),
    "docs/site/requirements.lock": (EXTRAS["docs"], 20),
}
PYTHONS = ("3.11", "3.12", "3.13")


def locked(lock: str, python: str) -> dict[str, str]:
    """Return the versions that a Python gets, by name."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.1",
        "sys_platform": "linux",
        "platform_python_implementation": "CPython",
    }
    found: dict[str, str] = {}
    for line in re.findall(r"^[\w.-]+==.*?(?= \\$)", lock, re.MULTILINE):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            assert canonicalize_name(requirement.name) not in found, f"{line} is locked twice for Python {python}"
            [version] = requirement.specifier
            found[canonicalize_name(requirement.name)] = version.version
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_lock_satisfies_the_dependencies(name: str) -> None:
    wanted = [Requirement(text) for text in LOCKS[name][0]]

    for python in PYTHONS:
        versions = locked((ROOT / name).read_text(), python)
        unsatisfied = [
            str(one) for one in wanted if not one.specifier.contains(versions.get(canonicalize_name(one.name), "0"))
        ]
        assert unsatisfied == [], f"Python {python}: run `make lock`"


# Distributions whose modules have another name, and those that are used without an import of their own.
MODULES = {"google-re2": "re2", "python-multipart": "python_multipart"}
FOR_OTHERS = {
    "uvloop": "uvicorn takes it as its event loop",
    "tzdata": "zoneinfo reads it",
    "fastapi-offline": "its files",
}


def test_every_dependency_is_used() -> None:
    texts = [path.read_text() for folder in ("app", "migrations") for path in (ROOT / folder).rglob("*.py")]
    imported = {name for text in texts for name in re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE)}
    names = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}

    unused = {name for name in names if MODULES.get(name, name.replace("-", "_")) not in imported}

    assert unused == FOR_OTHERS.keys()


@pytest.mark.parametrize("name", LOCKS)
def test_lock_names_hashes_and_no_address(name: str) -> None:
    lock = (ROOT / name).read_text()
    entries = re.split(r"^(?=[\w.-]+==)", lock, flags=re.MULTILINE)[1:]

    assert len(entries) > LOCKS[name][1]
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert re.findall(r"https?://|file:|--(?:extra-)?index|--find-links|@ ", lock) == []
