"""Makes, lists and revokes links that show one experiment to people without a key."""

import datetime as dt
from collections.abc import Sequence
from typing import Final

from app.accounts.auth import api_keys
from app.common import limits
from app.common.errors import NotFound, ValidationFailed
from app.common.ids import read_id
from app.db.models import Experiment, ShareLink, User, utc_now
from app.experiments.share_links.repository import ShareLinkRepository

LIFETIMES: Final = (7, 30, 90)  # in days


class ShareLinkService:
    """Share links of one project's experiments."""

    def __init__(self, links: ShareLinkRepository) -> None:
        self._links = links

    async def create(self, experiment: Experiment, days: int, created_by: User) -> str:
        """Return the token of a new link, which is not stored.

        Raises
        ------
        ValidationFailed
            For a lifetime that is not offered, and where an experiment has too many links.
        """
        if days not in LIFETIMES:
            raise ValidationFailed(f"A link lasts {', '.join(map(str, LIFETIMES))} days, got {days}.", attr="days")
        now = utc_now()
        await self._links.delete_expired(now)
        if await self._links.count(experiment.id) >= limits.SHARE_LINKS.value:
            raise ValidationFailed(limits.SHARE_LINKS.detail)
        token = api_keys.generate_token()
        await self._links.add(
            ShareLink(
                experiment_id=experiment.id,
                digest=api_keys.digest(token),
                created_by_id=created_by.id,
                expires_at=now + dt.timedelta(days=days),
            )
        )
        return token

    async def list_of(self, experiment: Experiment) -> Sequence[ShareLink]:
        return await self._links.of_experiment(experiment.id, utc_now())

    async def revoke(self, experiment: Experiment, reference: str) -> None:
        link_id = read_id(reference)
        if link_id is None or not await self._links.delete(experiment.id, link_id):
            raise NotFound
