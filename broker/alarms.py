"""Telling people's systems of a break-glass: that it was opened, and that it is over and somebody must look back at it.

As notices of incidents are (`notices.py`): one message a receiver (`messages.py`).
"""

from collections.abc import Sequence

from broker.breakglass import BreakGlass, Breakglass
from broker.errors import BrokerError
from broker.messages import Messages, foremost
from broker.model import Json
from broker.work import Claimed, Work

ACTION = "notify.breakglass.send"


class Alarms:
    """Does the work kind ``breakglass``."""

    def __init__(self, *, messages: Messages, desk: BreakGlass, work: Work, receivers: Sequence[str], url: str) -> None:
        """``receivers`` are ids of resources of type ``webhook``; ``url`` is the gate's own address."""
        self._messages = messages
        self._desk = desk
        self._work = work
        self._receivers = receivers
        self._url = url

    async def tell(self, claimed: Claimed) -> None:
        """Tell every receiver; one that was told is not told again, and one that could not be reached is tried again."""
        breakglass, _, kind = claimed.subject.partition(".")
        await self._desk.settle(claimed.tenant)
        stands = await self._desk.get(claimed.tenant, breakglass)
        failed: list[BrokerError] = []
        for receiver in self._receivers:
            try:
                await self._messages.send(
                    claimed.tenant,
                    receiver,
                    self._message(stands, kind),
                    action=ACTION,
                    event=claimed.subject,
                    reason=f"break-glass {stands.id}",
                )
            except BrokerError as error:  # whatever keeps one receiver from it, the others are told
                failed.append(error)
        if failed:
            raise foremost(failed)
        await self._work.done(claimed)

    def _message(self, stands: Breakglass, kind: str) -> dict[str, Json]:
        return {
            "breakglass": stands.id,
            "kind": kind,
            "by": stands.opened_by,
            "confirmed_by": stands.confirmed_by,
            "until": stands.until,
            "review_due": stands.review_due,
            "actions": list(stands.actions),
            "targets": [dict(target) for target in stands.targets],
            "url": f"{self._url}/console/agents/breakglass",
        }
