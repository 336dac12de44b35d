"""Finds files of the operator's copy of the browser SDK, and no other files."""

import re
from pathlib import Path
from typing import Final

# Names that occur in the package. They do not begin with a dot, so that they cannot lead out of the directory.
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_KINDS: Final = (".js", ".map", ".css")


class ScriptDirectory:
    """A directory with the ``dist`` files of the npm package; None where the operator has none."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory.resolve() if directory is not None else None

    def find(self, path: str) -> Path | None:
        """Return the file for ``name`` or ``version/name``; without a directory for the version, the file in the root.

        None for anything but a regular file inside the directory; links out of the directory are not followed.
        """
        parts = path.split("/")
        if self._directory is None or len(parts) > 2 or not all(map(_NAME.fullmatch, parts)):
            return None
        if not parts[-1].endswith(_KINDS):
            return None
        for candidate in (self._directory.joinpath(*parts), self._directory / parts[-1]):
            file = candidate.resolve()
            if file.is_relative_to(self._directory) and file.is_file():
                return file
        return None
