"""The exposures that this process stored lately: SDKs report each value of a flag once for a person, and so does it."""

from typing import Final, TypeAlias

# Project, distinct id, flag, value, and the groups that the event belongs to.
Exposure: TypeAlias = tuple[int, str, str, bool | str, frozenset[tuple[str, str]]]

_MOST_KEPT: Final = 50_000


class RecentExposures:
    """The newest of them. One that was forgotten, or stored by another process, is stored again, which counts once."""

    def __init__(self, most: int = _MOST_KEPT) -> None:
        self._most = most
        self._kept: dict[Exposure, None] = {}

    def holds(self, exposure: Exposure) -> bool:
        return exposure in self._kept

    def add(self, exposure: Exposure) -> None:
        self._kept[exposure] = None
        if len(self._kept) > self._most:
            del self._kept[next(iter(self._kept))]
