"""Telling people's systems of a break-glass: that it was opened, and that it is over and somebody must look back at it.

As notices of incidents are (`notices.py`): an action of the gate's own workload, decided, recorded, sent once a receiver.
"""

from collections.abc import Sequence

from broker.breakglass import BreakGlass, Breakglass
from broker.clock import Clock
from broker.errors import BrokerError, LimitExceeded, Unavailable, UpstreamFailed
from broker.model import Json
from broker.pipeline import Pipeline
from broker.reading import Ask
from broker.remedies import verifier
from broker.work import Claimed, Work

ACTION = "notify.breakglass.send"
ENV = "prod"


class Alarms:
    """Does the work kind ``breakglass``."""

    def __init__(  # noqa: PLR0913 - the composition root names each part once
        self, *, pipeline: Pipeline, desk: BreakGlass, work: Work, clock: Clock, receivers: Sequence[str], url: str
    ) -> None:
        """``receivers`` are ids of resources of type ``webhook``; ``url`` is the gate's own address."""
        self._pipeline = pipeline
        self._desk = desk
        self._work = work
        self._clock = clock
        self._receivers = receivers
        self._url = url

    async def tell(self, claimed: Claimed) -> None:
        """Tell every receiver; one that was told is not told again, since its key gives the answer that it had."""
        breakglass, _, kind = claimed.subject.partition(".")
        stands = await self._desk.get(claimed.tenant, breakglass)
        failed: BrokerError | None = None
        for receiver in self._receivers:
            ask = Ask(
                action=ACTION,
                resource={"type": "webhook", "id": receiver, "env": ENV},
                arguments=self._message(stands, kind),
                reason=f"break-glass {stands.id}",
                idempotency_key=f"{claimed.subject}.{receiver}",
            )
            try:
                await self._pipeline.own(verifier(claimed.tenant, self._clock), ask)
            except (Unavailable, UpstreamFailed, LimitExceeded) as error:
                failed = error
        if failed is not None:
            raise failed
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
