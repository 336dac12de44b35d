"""Pages name the test that keeps each promise, settings and files: they have to be there."""

import ast
import re
from functools import cache
from pathlib import Path

from app.settings import _FORMER_NAMES, ENVIRONMENT_PREFIX, OF_CLIENTS, Settings
from tests.support.programs import ROOT

PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *(ROOT / ".github").glob("*.md"), ROOT / "README.md"])


@cache
def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_tests_that_a_page_names_are_there() -> None:
    missing = []
    for page in PAGES:
        for line in page.read_text().splitlines():
            named = ""
            for file, name in re.findall(r"`(tests/[\w/]+(?:\.py)?)?(?:::(\w+))?`", line):
                named = file or named
                if not named and not name:
                    continue
                path = ROOT / named
                if not path.exists() or (name and name not in functions(path)):
                    missing.append(f"{page.name}: {named}::{name}")

    assert missing == []


def test_settings_that_a_page_names_are_there() -> None:
    settings = {f"{ENVIRONMENT_PREFIX}{name}".upper() for name in (*Settings.model_fields, *_FORMER_NAMES)}
    of_compose = re.findall(rf"\${{({ENVIRONMENT_PREFIX}[A-Z_]+)", (ROOT / "compose.yaml").read_text())
    known = {*settings, *OF_CLIENTS, *(f"{name}_FILE" for name in settings), *of_compose}

    named = {
        (page.name, name) for page in PAGES for name in re.findall(rf"{ENVIRONMENT_PREFIX}[A-Z_]+", page.read_text())
    }
    assert [pair for pair in sorted(named) if pair[1] not in known] == []


def test_files_that_a_page_links_to_are_there() -> None:
    links = [(page, link) for page in PAGES for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())]

    assert [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()] == []
