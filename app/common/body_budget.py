"""The memory that bodies of requests take together while they arrive, and until they are answered."""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from app.common.errors import Unavailable
from app.common.limits import BODIES_WAITING

_LOOKS: Final = 10  # for bodies that have to give way, while a body is allowed to arrive


class TooManyBodies(Unavailable):
    """So many large bodies arrive that this one would wait for too long."""

    default_detail = BODIES_WAITING.detail


class _Wanted(NamedTuple):
    """Bytes for which a body waits."""

    size: int
    turn: asyncio.Future[None]
    since: float


class BodyBudget:
    """Bytes that large bodies share. Each takes some as they arrive, and gives all back when it is answered.

    When none are left, bodies wait in the order in which they began. The first of those that arrive goes on all the
    same where no complete one will give bytes back, so that one is always finished: together they have at most
    ``total`` bytes and those of one body more. While others wait, a body that arrives for longer than ``patience``
    seconds, its own waiting not counted, is given up. What waits holds memory, too, although its client may be gone:
    so one that has waited for ``longest_wait`` seconds is refused, and one that would wait beside ``most_waiting``.
    """

    def __init__(self, total: int, patience: float, *, longest_wait: float, most_waiting: int) -> None:
        self._left = total
        self._patience = patience
        self._longest_wait = longest_wait
        self._most_waiting = most_waiting
        self._arriving: dict[ArrivingBody, None] = {}  # in the order of their beginnings
        self._complete = 0
        self._waiting = 0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, give_up: Callable[[], None]) -> "ArrivingBody":
        """Return a body that begins to arrive. ``give_up`` is called, maybe repeatedly, to have it refused."""
        body = ArrivingBody(self, asyncio.get_running_loop().time(), give_up)
        self._arriving[body] = None
        return body

    async def take(self, body: "ArrivingBody", size: int) -> None:
        if self._is_free(body, size) and (not self._waiting or self._is_first(body)):
            self._give(body, size)
            return
        if self._waiting >= self._most_waiting:
            raise TooManyBodies
        loop = asyncio.get_running_loop()
        body.wanted = wanted = _Wanted(size, loop.create_future(), loop.time())
        self._waiting += 1
        self._look()
        try:
            async with asyncio.timeout_at(wanted.since + self._longest_wait - body.waited):
                await wanted.turn
        except TimeoutError as error:
            raise TooManyBodies from error
        finally:
            if body.wanted is not None:  # it was refused, or cancelled
                body.wanted = None
                self._waiting -= 1

    def complete(self, body: "ArrivingBody") -> None:
        del self._arriving[body]
        self._complete += 1

    def end(self, body: "ArrivingBody") -> None:
        if body in self._arriving:
            del self._arriving[body]
        else:
            self._complete -= 1
        self._left += body.size
        body.size = 0
        self._grant()

    def _is_free(self, body: "ArrivingBody", size: int) -> bool:
        return size <= self._left or (not self._complete and self._is_first(body))

    def _is_first(self, body: "ArrivingBody") -> bool:
        return body is next(iter(self._arriving))

    def _give(self, body: "ArrivingBody", size: int) -> None:
        self._left -= size
        body.size += size

    def _grant(self) -> None:
        if not self._waiting:
            return
        for body in self._arriving:
            if body.wanted is None:
                continue
            size, turn, since = body.wanted
            if not self._is_free(body, size):
                return
            if not turn.done():  # else it was cancelled
                body.wanted = None
                body.waited += asyncio.get_running_loop().time() - since
                self._waiting -= 1
                self._give(body, size)
                turn.set_result(None)

    def _look(self) -> None:
        """Give up what arrives too slowly, now and as long as others wait."""
        self._grant()
        loop = asyncio.get_running_loop()
        if not self._waiting:
            return
        if self._timer is None:
            self._timer = loop.call_later(self._patience / _LOOKS, self._look_again)
        oldest = loop.time() - self._patience
        for body in self._arriving:
            if body.wanted is None and body.began + body.waited <= oldest:
                body.give_up()

    def _look_again(self) -> None:
        self._timer = None
        self._look()


class ArrivingBody:
    """A body of which bytes are in memory."""

    def __init__(self, budget: BodyBudget, began: float, give_up: Callable[[], None]) -> None:
        self._budget = budget
        self.began = began
        self.give_up = give_up
        self.size = 0
        self.waited = 0.0  # seconds
        self.wanted: _Wanted | None = None

    async def take(self, size: int) -> None:
        """Take bytes that have arrived, once some are left.

        Raises
        ------
        TooManyBodies
        """
        await self._budget.take(self, size)

    def complete(self) -> None:
        """Say that nothing more arrives."""
        self._budget.complete(self)

    def end(self) -> None:
        """Give all bytes back."""
        self._budget.end(self)
