"""Semantic versions in properties and filters, read as the SDKs read them."""

import re
from typing import Final, NamedTuple

_NUMBER: Final = re.compile(r"0|[1-9]\d{0,17}", re.ASCII)
_WILDCARD: Final = re.compile(r"[\d.]*(?:\*(?:\.\*)*)?", re.ASCII)
_PARTS: Final = 3


class Version(NamedTuple):
    """The numbers of a version; what follows a hyphen or a plus (pre-release, build) does not count."""

    major: int
    minor: int = 0
    patch: int = 0


class VersionRange(NamedTuple):
    """The versions from ``first`` up to ``end``, which does not belong to them."""

    first: Version
    end: Version


def parse_version(text: str) -> Version | None:
    """Parse ``1.2.3``, ``v1.2`` or ``1.2.3-beta+5``; None if the text is not a version. Missing numbers are 0."""
    bare = text.strip().lstrip("vV").partition("-")[0].partition("+")[0]
    major, *others = bare.split(".")[:_PARTS]
    numbers = [major, *(part or "0" for part in others)]
    if not all(map(_NUMBER.fullmatch, numbers)):
        return None
    return Version(*map(int, numbers))


def tilde_range(text: str) -> VersionRange | None:
    """Return the range of ``~1.2.3``: the version and its later patches."""
    version = parse_version(text)
    return version and VersionRange(version, Version(version.major, version.minor + 1))


def caret_range(text: str) -> VersionRange | None:
    """Return the range of ``^1.2.3``: no change of the leftmost number that is not 0."""
    version = parse_version(text)
    if version is None:
        return None
    if version.major:
        return VersionRange(version, Version(version.major + 1))
    if version.minor:
        return VersionRange(version, Version(0, version.minor + 1))
    return VersionRange(version, Version(0, 0, version.patch + 1))


def wildcard_range(text: str) -> VersionRange | None:
    """Return the range of ``1.*`` or ``1.2.*``: all versions that begin with these numbers."""
    bare = text.strip().lstrip("vV")
    numbers = bare.replace("*", "").rstrip(".").split(".")
    if not _WILDCARD.fullmatch(bare) or len(numbers) > _PARTS or not all(map(_NUMBER.fullmatch, numbers)):
        return None
    first = tuple(map(int, numbers))
    return VersionRange(_padded(first), _padded((*first[:-1], first[-1] + 1)))


def _padded(numbers: tuple[int, ...]) -> Version:
    major, minor, patch = (*numbers, 0, 0)[:_PARTS]
    return Version(major, minor, patch)
