"""The gate's own acts about reading the log, as ``acts.py`` runs them: decided and on record before they come here."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from broker.logbook.feed import Feed
from broker.model import Json, Principal

Act = Callable[[Principal, Mapping[str, Any]], Awaitable[Json]]


class LogActs:
    """Acts by name; ``acts.Acts`` runs them beside its own."""

    def __init__(self, *, feed: Feed) -> None:
        self._feed = feed
        self.acts: Mapping[str, Act] = {"gate.events.read": self._follow}

    async def _follow(self, principal: Principal, _said: Mapping[str, Any]) -> Json:
        """Whether there is a seat, and where the log stands; the stream itself is the route's."""
        self._feed.check_seat(principal)
        return {"next": await self._feed.head(principal.tenant)}
