"""The body of an erasure of several persons."""

from uuid import UUID

from pydantic import Field

from app.common import limits
from app.common.errors import ValidationFailed
from app.common.ids import read_reference, read_uuid
from app.http.fields import Boolean, PresentJson
from app.http.schemas import RequestBody


class PersonsDeletion(RequestBody):
    """The persons to erase: by `ids` or by `distinct_ids`, not both."""

    ids: PresentJson = Field(
        default=[], description="UUIDs, or ids, of persons.", examples=[["0184305c-6f00-4000-8000-000000000005"]]
    )
    distinct_ids: PresentJson = Field(default=[], description="Distinct ids of persons.", examples=[[]])
    delete_events: Boolean = Field(default=False, description="Whether their events are removed too.")

    def references(self) -> list[int | UUID]:
        """Return the ids.

        Raises
        ------
        ValidationFailed
            One of them is no id.
        """
        found: list[int | UUID] = []
        for one in _items(self.ids, "ids"):
            reference = read_reference(one) or (read_uuid(one) if isinstance(one, str) else None)
            if reference is None:
                detail = f"A person is named by id or UUID, got {str(one)[:100]!r}. Distinct ids go into distinct_ids."
                raise ValidationFailed(detail, attr="ids")
            found.append(reference)
        return found

    def names(self) -> list[str]:
        """Return the distinct ids.

        Raises
        ------
        ValidationFailed
            One of them is no text or number.
        """
        named = _items(self.distinct_ids, "distinct_ids")
        if any(isinstance(one, bool) or not isinstance(one, str | int | float) for one in named):
            raise ValidationFailed("A distinct id is a text.", attr="distinct_ids")
        return [str(one) for one in named]


def _items(value: object, attr: str) -> list[object]:
    if not isinstance(value, list):
        detail = f'Expected a list of items but got type "{type(value).__name__}".'
        raise ValidationFailed(detail, code="not_a_list", attr=attr)
    if len(value) > limits.ERASED_PERSONS.value:
        raise ValidationFailed(limits.ERASED_PERSONS.detail, code="too_many_persons", attr=attr)
    return value
