"""What a limit is."""

from dataclasses import dataclass
from typing import Final, Literal

KIB: Final = 1024
MIB: Final = 1024 * KIB

Unit = Literal["bytes", "items", "seconds"]


@dataclass(frozen=True)
class Limit:
    """One limit. What exceeds ``value`` meets ``consequence``.

    ``detail`` is the text of the error, where there is one; ``{value}`` in it stands for the limit.
    """

    subject: str
    value: int
    unit: Unit
    reason: str
    consequence: str
    template: str = ""

    @property
    def detail(self) -> str:
        return self.template.format(value=f"{self.value:,}")
