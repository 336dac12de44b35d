"""The references are what the generator makes of the code, and the front page stays a first screen."""

import re
from pathlib import Path

import pytest

from docs.generate import references
from tests.support.programs import ROOT
from tests.test_architecture import LAYERS

LONGEST_README = 120
LARGEST_PICTURE = 300_000


@pytest.fixture(scope="module")
def made() -> dict[Path, str]:
    return references()


def test_references_are_what_the_code_says(made: dict[Path, str]) -> None:
    outdated = [path.name for path, text in made.items() if not path.exists() or path.read_text() != text]

    assert outdated == [], "run `make docs`"


def test_architecture_page_lists_the_layers() -> None:
    page = (ROOT / "docs/explanation/architecture.md").read_text()
    rows = re.findall(r"^\| ?(\d*) \| (.*?) \| ", page, re.MULTILINE)

    listed: list[set[str]] = []
    for number, folders in rows:
        listed += [set()] if number else []
        listed[-1] |= set(re.findall(r"`app/(\w+)(?:\.py)?`", folders))
    assert listed == [set(entries) for entries in LAYERS]


def test_index_leads_to_every_page() -> None:
    index = (ROOT / "docs/README.md").read_text()
    pages = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]

    assert [str(page) for page in pages if page.name != "README.md" and f"]({page})" not in index] == []


def test_front_page_is_one_screen_with_a_picture() -> None:
    readme = (ROOT / "README.md").read_text()

    assert len(readme.splitlines()) <= LONGEST_README
    assert "(docs/images/experiment.png)" in readme


def test_pictures_are_small_shown_and_there_in_light_and_dark_colors() -> None:
    shown = {
        scheme: set(re.findall(rf"images/([\w.-]+)#gh-{scheme}-mode-only", text))
        for scheme in ("light", "dark")
        for text in ["".join(page.read_text() for page in (ROOT / "docs").rglob("*.md"))]
    }
    pictures = list((ROOT / "docs/images").iterdir())

    assert {name.replace("-light", "").replace(".", "-dark.") for name in shown["light"]} == shown["dark"]
    assert {picture.name for picture in pictures} == shown["light"] | shown["dark"]
    assert [picture.name for picture in pictures if picture.stat().st_size > LARGEST_PICTURE] == []
