"""The guides name the test that keeps each promise: it has to be there."""

import ast
import re
from pathlib import Path

import pytest

from app.settings import ENVIRONMENT_PREFIX, Settings

ROOT = Path(__file__).parents[2]
GUIDES = sorted((ROOT / "app/guides").glob("*.md"))


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_the_tests_that_a_guide_names_are_there(guide: Path) -> None:
    missing = []
    for line in guide.read_text().splitlines():
        named = ""
        for file, name in re.findall(r"`(tests/[\w/]+(?:\.py)?)?(?:::(\w+))?`", line):
            named = file or named
            if not named and not name:
                continue
            path = ROOT / named
            if not path.exists() or (name and name not in functions(path)):
                missing.append(f"{named}::{name}")

    assert not missing


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_the_settings_that_a_guide_names_are_there(guide: Path) -> None:
    settings = {f"{ENVIRONMENT_PREFIX}{name}".upper() for name in Settings.model_fields}
    of_compose = re.findall(rf"\${{({ENVIRONMENT_PREFIX}[A-Z_]+)", (ROOT / "compose.yaml").read_text())
    known = {*settings, *(f"{name}_FILE" for name in settings), *of_compose}

    assert set(re.findall(rf"{ENVIRONMENT_PREFIX}[A-Z_]+", guide.read_text())) <= known


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_the_files_that_a_guide_links_to_are_there(guide: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", guide.read_text())

    assert [link for link in links if not (guide.parent / link).exists()] == []
