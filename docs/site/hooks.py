"""What mkdocs does for the site beside its settings: the navigation, and pages without inline scripts.

The service serves the site under a content security policy that allows no inline script, and the theme writes some.
"""

import hashlib
import re
import shutil
from pathlib import Path
from typing import Final, TypeAlias

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

Section: TypeAlias = dict[str, list[dict[str, str]]]

INDEX: Final = "README.md"
_HEADING: Final = re.compile(r"^## (.+)$")
_ENTRY: Final = re.compile(r"^(?:-|\d+\.) \[(.+?)\]\((.+?)\)")
# The data blocks of the theme have a type, and scripts in files have a source.
_INLINE_SCRIPT: Final = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_SEARCH: Final = (
    'data-md-component="search" role="dialog"',
    'data-md-component="search" role="dialog" aria-label="Search"',
)
# Stemmers of other languages, maps for debuggers, and a page whose links hold at the root of a host only.
_UNUSED: Final = ("assets/javascripts/lunr", "404.html", "sitemap.xml", "sitemap.xml.gz")


def navigation(index: str) -> list[dict[str, str] | Section]:
    """Return the sections and pages that the index lists, in its order; an entry is a link that begins its line."""
    found: list[dict[str, str] | Section] = [{"Home": INDEX}]
    pages: list[dict[str, str]] = []
    for line in index.splitlines():
        if heading := _HEADING.match(line):
            pages = []
            found.append({heading[1]: pages})
        elif entry := _ENTRY.match(line):
            pages.append({entry[1]: entry[2]})
    return found


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    config.nav = navigation(Path(config.docs_dir, INDEX).read_text(encoding="utf-8"))
    return config


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Move each inline script into a file, which is named by its content: all pages of one depth share theirs.

    The search gets a name, which the theme does not give it.
    """

    def move(script: re.Match[str]) -> str:
        name = f"assets/javascripts/page-{hashlib.sha256(script[1].encode()).hexdigest()[:12]}.js"
        file = Path(config.site_dir, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(script[1], encoding="utf-8")
        return f'<script src="{get_relative_url(name, page.url)}"></script>'

    return _INLINE_SCRIPT.sub(move, output.replace(*_SEARCH))


def on_post_build(config: MkDocsConfig) -> None:
    site = Path(config.site_dir)
    for name in _UNUSED:
        path = site / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for path in site.rglob("*.map"):
        path.unlink()
