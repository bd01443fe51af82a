"""Proposals of this process whose quorum was just met: each once, however often it is said."""

import asyncio

from broker.store.approvals import Proposal


class Due:
    """A queue without duplicates. What is lost with the process is found again by the background's sweep."""

    def __init__(self) -> None:
        """Nothing is due."""
        self._waiting: dict[tuple[str, str], Proposal] = {}
        self._some = asyncio.Event()

    def add(self, proposal: Proposal) -> None:
        """Say that ``proposal`` may run."""
        self._waiting[proposal.tenant, proposal.id] = proposal
        self._some.set()

    async def take(self) -> Proposal:
        """The one that waits longest; waits for one."""
        while not self._waiting:
            self._some.clear()
            await self._some.wait()
        return self._waiting.pop(next(iter(self._waiting)))
