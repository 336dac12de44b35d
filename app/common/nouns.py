"""English nouns in messages."""

from typing import Final

# What experiments assign to variants and compare; groups by the name of their type, or where no event has named it, so.
PERSONS: Final = "persons"
GROUPS: Final = "groups"

_VOWELS = frozenset("aeiou")


def plural(name: str) -> str:
    """Return the plural of a name: ``companies`` for ``company``; a plural stays as it is."""
    lower = name.lower()
    if len(lower) > 1 and lower[-1] == "y" and lower[-2] not in _VOWELS:
        return f"{name[:-1]}ies"
    if lower.endswith(("ss", "x", "z", "ch", "sh")):
        return f"{name}es"
    return name if lower.endswith("s") else f"{name}s"


def capitalized(text: str) -> str:
    """Return a text as the beginning of a sentence."""
    return f"{text[:1].upper()}{text[1:]}"


def none_of(unit: str) -> str:
    """Return the beginning of a sentence about not one of some units: ``no person was`` for ``persons``."""
    return "no person was" if unit == PERSONS else f"no {unit} were"


def all_of(unit: str) -> str:
    """Return the beginning of a sentence about all of some units: ``Everybody`` for ``persons``."""
    return "Everybody" if unit == PERSONS else f"All {unit}"


def who(unit: str) -> str:
    """Return the pronoun of a clause about some units: ``who`` for ``persons``."""
    return "who" if unit == PERSONS else "that"
