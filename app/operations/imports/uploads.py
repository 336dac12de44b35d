"""The directory of uploaded files: each has a name that is made here, and its refused lines are beside it."""

import asyncio
import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO, Final, Self
from uuid import uuid4

from app.common import limits
from app.settings import Settings

_ONLY_OURS: Final = 0o700
_PART: Final = ".part"
_ABANDONED_SECONDS: Final = 3_600  # after the last piece; a client that sends no piece for so long is cut off earlier


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

    def size(self, stored_as: str) -> int:
        """Return the bytes of a file, compressed as it was sent."""
        return self.path(stored_as).stat().st_size

    def refused_lines(self, stored_as: str) -> Path:
        return self._directory / f"{stored_as}.refused.ndjson"

    async def keep(self, pieces: AsyncIterator[bytes]) -> str:
        """Write a body to disk as it comes; return the name of the file. Nothing is left of a part.

        Raises
        ------
        OSError
            Also where too little of the disk would stay free.
        """
        stored_as = str(uuid4())
        part = self.path(stored_as + _PART)
        await asyncio.to_thread(self._directory.mkdir, _ONLY_OURS, parents=True, exist_ok=True)
        try:
            with part.open("xb") as target:
                async for piece in pieces:
                    await asyncio.to_thread(self._write, target, piece)
            part.rename(self.path(stored_as))
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return stored_as

    def _write(self, target: BinaryIO, piece: bytes) -> None:
        if shutil.disk_usage(self._directory).free - len(piece) < limits.FREE_DISK_BYTES.value:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        target.write(piece)

    def remove_abandoned(self) -> None:
        """Remove what is left of uploads of processes that were killed meanwhile."""
        for part in self._directory.glob(f"*{_PART}"):
            with contextlib.suppress(OSError):
                if part.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                    part.unlink()

    def remove(self, stored_as: str) -> None:
        self.path(stored_as).unlink(missing_ok=True)

    def remove_all(self, stored_as: str) -> None:
        self.remove(stored_as)
        self.refused_lines(stored_as).unlink(missing_ok=True)

    @contextlib.contextmanager
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
