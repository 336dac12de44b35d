"""What a metric watches: one entity of an insight, and the property that names the variant."""

import hashlib
import json
from dataclasses import dataclass

from app.properties.filters import Group, canonical


@dataclass(frozen=True)
class SeriesDefinition:
    """The events of one name that pass a filter on their own properties.

    ``variant_property`` names the variant (``$feature/<flag key>``, or ``$feature_flag_response`` for exposures);
    ``value_property`` holds the number that property mathematics works on.
    """

    event: str
    filter: Group
    variant_property: str
    value_property: str | None = None

    def canonical(self) -> str:
        """Return the definition as text; equal definitions have equal texts."""
        document = {
            "event": self.event,
            "filter": canonical(self.filter),
            "value_property": self.value_property,
            "variant_property": self.variant_property,
        }
        return json.dumps(document, sort_keys=True, ensure_ascii=False)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.canonical().encode()).hexdigest()
