"""The directory of uploaded files: each has a name that is made here, and its refused lines are beside it."""

import asyncio
import fcntl
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self
from uuid import uuid4

from app.settings import Settings

_ONLY_OURS: Final = 0o700


class Uploads:
    """Keeps uploaded files. What the client calls them has no part in their paths."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.imports_directory or Path(tempfile.gettempdir(), "abacus-imports"))

    @property
    def directory(self) -> Path:
        return self._directory

    def path(self, stored_as: str) -> Path:
        return self._directory / stored_as

    def refused_lines(self, stored_as: str) -> Path:
        return self._directory / f"{stored_as}.refused.ndjson"

    async def keep(self, pieces: AsyncIterator[bytes]) -> str:
        """Write a body to disk as it comes; return the name of the file. Nothing is left of a part."""
        stored_as = str(uuid4())
        await asyncio.to_thread(self._directory.mkdir, _ONLY_OURS, parents=True, exist_ok=True)
        try:
            with self.path(stored_as).open("xb") as target:
                async for piece in pieces:
                    await asyncio.to_thread(target.write, piece)
        except BaseException:
            self.remove(stored_as)
            raise
        return stored_as

    def remove(self, stored_as: str) -> None:
        self.path(stored_as).unlink(missing_ok=True)

    def remove_all(self, stored_as: str) -> None:
        self.remove(stored_as)
        self.refused_lines(stored_as).unlink(missing_ok=True)

    @contextmanager
    def claim(self, stored_as: str) -> Iterator[bool]:
        """Hold a file that no other process holds; the claim of a process ends with it.

        Raises
        ------
        FileNotFoundError
        """
        with self.path(stored_as).open("rb") as source:
            try:
                fcntl.flock(source, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
