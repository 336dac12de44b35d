"""Published texts use the terms of the field, American spelling and a written subject."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer.main

from app.cli import app as command_line
from app.settings import Settings
from tests.support.application import application

ROOT = Path(__file__).parents[2]
OUT = re.compile(
    r"\b(he|his|him|himself|whoever|nobody|somebody|so many|none of the|what is no"
    r"|(?<!there )is no (?!longer)\w+|(?<!there )are no (?!longer)\w+"
    r"|\w*colours?|behaviours?|analys(?:e|ed|ing)|neighbours?|favours?|organisations?|licence"
    r"|\w*(?:material|recogn|serial|summar|normal|optim|initial|anonym|synchron|standard|random)is(?:e|ed|es|ing|ation))\b",
    re.IGNORECASE,
)

NAME = re.compile(r"`[^`]+`")  # a field keeps the name that it was published under


def published() -> Iterator[tuple[str, str]]:
    """Yield the place and the text of everything that users read without asking for it."""
    yield from _of_document(application().openapi(), "OpenAPI")
    for template in sorted((ROOT / "app/pages/templates").glob("*.html")):
        yield template.name, re.sub(r"{#.*?#}|{%.*?%}|{{.*?}}|<[^>]*>", " ", template.read_text(), flags=re.DOTALL)
    yield from _of_command(typer.main.get_command(command_line), "abacus")
    for name, field in Settings.model_fields.items():
        yield f"setting {name}", field.description or ""


def _of_document(node: object, place: str) -> Iterator[tuple[str, str]]:
    """Yield the texts of an OpenAPI document that are written for people; examples are values."""
    if isinstance(node, Mapping):
        for key, member in node.items():
            if key in {"description", "summary"} and isinstance(member, str):
                yield f"{place} {key}", member
            elif key not in {"example", "examples"}:
                yield from _of_document(member, f"{place}/{key}")
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for index, member in enumerate(node):
            yield from _of_document(member, f"{place}/{index}")


def _of_command(command: Any, place: str) -> Iterator[tuple[str, str]]:  # typer keeps its own kind of Click's commands
    yield place, command.help or ""
    for parameter in command.params:
        yield f"{place} {parameter.name}", getattr(parameter, "help", None) or ""
    for name, child in getattr(command, "commands", {}).items():
        yield from _of_command(child, f"{place} {name}")


def test_published_texts_hold_no_word_that_is_out() -> None:
    texts = list(published())
    assert len(texts) > 500  # every place was found

    assert [
        f"{place}: {found[0]!r} in {text.strip()!r}"
        for place, text in texts
        if (found := OUT.search(NAME.sub("", text)))
    ] == []


def test_documentation_holds_no_word_that_is_out() -> None:
    pages = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    assert len(pages) > 50
    texts = {page.name: re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL) for page in pages}

    found = [(name, word[0]) for name, text in texts.items() for word in OUT.finditer(NAME.sub("", text))]
    assert found == []


def test_words_that_are_out_are_found() -> None:
    assert OUT.search("Whoever asks, his key is no key")
    assert OUT.search("materialised colours")
    assert not OUT.search("The behavior is no longer analyzed; this organization initialized it.")
