"""Who looks at a page, and what they may do there."""

from dataclasses import dataclass

from app.accounts.auth.service import Access
from app.db.models import Project, User


@dataclass(frozen=True)
class Visit:
    """A person who is signed in, on the pages of a project. What they may not do is not offered."""

    access: Access
    project: Project

    @property
    def user(self) -> User:
        return self.access.user

    def may(self, scope: str) -> bool:
        """Whether the visitor's session covers a scope."""
        return self.access.covers([scope])

    @property
    def may_change_experiments(self) -> bool:
        return self.may("experiment:write")

    @property
    def may_see_flags(self) -> bool:
        return self.may("feature_flag:read")

    @property
    def may_change_flags(self) -> bool:
        return self.may("feature_flag:write")

    @property
    def may_see_events(self) -> bool:
        return self.may("event:read")

    @property
    def may_see_persons(self) -> bool:
        return self.may("person:read")
