"""Where an SQLite database is stored: the room that is left, and the processes that have it open."""

import os
import shutil
from pathlib import Path
from typing import Final

_PROCESSES: Final = Path("/proc")


def free_bytes(path: Path) -> int:
    """Return the bytes that are free where a file is stored."""
    return shutil.disk_usage(path.parent).free


def stored_bytes(path: Path) -> int:
    """Return the size of a database with its write-ahead log."""
    files = (path, path.with_name(f"{path.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def other_processes(path: Path) -> list[int]:
    """Return the ids of other processes that have a file open; empty where the system does not tell."""
    if not _PROCESSES.is_dir() or not path.exists():
        return []
    target = path.stat()
    return sorted(
        int(process.name)
        for process in _PROCESSES.iterdir()
        if process.name.isdigit() and int(process.name) != os.getpid() and _has_open(process, target)
    )


def _has_open(process: Path, target: os.stat_result) -> bool:
    try:
        opened = list((process / "fd").iterdir())
    except OSError:  # of another user, or gone
        return False
    return any(_is_same(descriptor, target) for descriptor in opened)


def _is_same(descriptor: Path, target: os.stat_result) -> bool:
    try:
        return os.path.samestat(descriptor.stat(), target)
    except OSError:
        return False
