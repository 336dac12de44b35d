"""Which experiments a visitor asks a list for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, get_args
from urllib.parse import urlencode

from app.experiments.lifecycle import Status
from app.experiments.repository import ExperimentSelection, Order
from app.http.pagination import read_count
from app.http.query_params import read_text

PAGE_ITEMS: Final = 20
ORDERS: Final[Mapping[str, str]] = {
    "-created_at": "newest first",
    "created_at": "oldest first",
    "-updated_at": "last changed first",
    "name": "by name",
    "-start_date": "last launched first",
    "-duration": "longest running first",
    "status": "by status",
}
ARCHIVED: Final[Mapping[str, str]] = {"": "without archived ones", "only": "archived ones only", "all": "all"}
STATUSES: Final = get_args(Status)


@dataclass(frozen=True)
class AskedList:
    """The fields of the form above a list; what is not understood means its default."""

    search: str = ""
    status: str = ""
    archived: str = ""
    order: str = "-created_at"
    owner: str = ""
    offset: int = 0

    @property
    def is_filtered(self) -> bool:
        return bool(self.search or self.status or self.archived or self.owner)

    def select(self, user_id: int) -> ExperimentSelection:
        status = next((known for known in get_args(Status) if known == self.status), None)
        field = self.order.removeprefix("-")
        order: Order = next(known for known in get_args(Order) if known == field)
        return ExperimentSelection(
            status=status,
            is_archived={"": False, "only": True}.get(self.archived),
            search=read_text(self.search),
            created_by_id=user_id if self.owner else None,
            order=order,
            is_descending=self.order.startswith("-"),
        )

    def address(self, offset: int) -> str:
        """Return the query of the same list from another place on."""
        fields = {"search": self.search, "status": self.status, "archived": self.archived, "owner": self.owner}
        asked = {name: value for name, value in fields.items() if value}
        if self.order != AskedList.order:
            asked["order"] = self.order
        return "?" + urlencode({**asked, "offset": str(offset)})


def read_list(query: Mapping[str, str]) -> AskedList:
    status, archived, order = query.get("status", ""), query.get("archived", ""), query.get("order", "")
    return AskedList(
        search=query.get("search", "").strip(),
        status=status if status in STATUSES else "",
        archived=archived if archived in ARCHIVED else "",
        order=order if order in ORDERS else AskedList.order,
        owner="me" if query.get("owner") == "me" else "",
        offset=read_count(query.get("offset"), 0, minimum=0),
    )
