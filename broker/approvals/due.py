"""Proposals of this process whose quorum was just met: each once, however often it is said."""

import asyncio

from broker.store.approvals import Proposal

WAITING_MAX = 1_024


class Due:
    """A queue without duplicates. What it does not take, or is lost with the process, the background's sweep finds again."""

    def __init__(self, waiting_max: int = WAITING_MAX) -> None:
        """Nothing is due."""
        self._waiting_max = waiting_max
        self.turned_away = 0
        self._waiting: dict[tuple[str, str], Proposal] = {}
        self._some = asyncio.Event()

    def add(self, proposal: Proposal) -> None:
        """Say that ``proposal`` may run."""
        if len(self._waiting) >= self._waiting_max:
            self.turned_away += 1
            return
        self._waiting[proposal.tenant, proposal.id] = proposal
        self._some.set()

    @property
    def depth(self) -> tuple[int, int, int]:
        """How many wait, the most there may be, and how many were turned away."""
        return len(self._waiting), self._waiting_max, self.turned_away

    async def take(self) -> Proposal:
        """The one that waits longest; waits for one."""
        while not self._waiting:
            self._some.clear()
            await self._some.wait()
        return self._waiting.pop(next(iter(self._waiting)))
