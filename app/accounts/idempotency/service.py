"""The rules of `Idempotency-Key`: what was done under a key is not done again, and answered as before."""

import datetime as dt
import math
import re
from typing import Final

from app.accounts.idempotency.repository import AnswerRepository
from app.common import limits
from app.common.errors import Conflict, Throttled, ValidationFailed
from app.db.models import utc_now
from app.http.answered_before import AnsweredBefore

HEADER: Final = "Idempotency-Key"
KEPT: Final = dt.timedelta(hours=24)
_KEY: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
_OTHER_REQUEST: Final = (
    "Another request was sent with this Idempotency-Key within 24 hours: send the same request, or another key."
)


class Claim:
    """A key of one caller and one request, in the transaction of what the request does."""

    def __init__(self, answers: AnswerRepository, key: str, request_digest: str) -> None:
        self._answers = answers
        self._key = key
        self._request_digest = request_digest

    async def look(self) -> None:
        """Look whether the request was answered already.

        Raises
        ------
        AnsweredBefore
        Conflict
            Another request had this key.
        """
        known = await self._answers.find(self._key)
        if known is None or known.created_at < utc_now() - KEPT:
            return
        if known.request_digest != self._request_digest:
            raise Conflict(_OTHER_REQUEST, code="idempotency_key_reused")
        if known.status:
            raise AnsweredBefore(known.status, known.body, known.tag)

    async def make(self) -> None:
        """Take the key for this transaction; a request that has taken it is waited for.

        Raises
        ------
        AnsweredBefore
        Conflict
            Another request had this key.
        Throttled
            As much is kept as may be.
        """
        now = utc_now()
        await self._answers.forget_before(now - KEPT)
        await self.look()
        kept = await self._answers.total()
        if kept.oldest is not None and (
            kept.answers >= limits.IDEMPOTENCY_KEYS.value or kept.bytes >= limits.IDEMPOTENT_BYTES.value
        ):
            raise Throttled(max(1, math.ceil((kept.oldest + KEPT - now).total_seconds())))
        await self._answers.add(self._key, self._request_digest, now)
        await self.look()

    async def keep(self, status: int, body: bytes, tag: str | None) -> None:
        await self._answers.keep(self._key, status, body, tag)


def check_key(key: str) -> None:
    """Refuse a key that is no text of 1 to 255 visible characters.

    Raises
    ------
    ValidationFailed
    """
    if not _KEY.fullmatch(key):
        raise ValidationFailed(f"{HEADER} has 1 to 255 visible ASCII characters.", attr=HEADER)
