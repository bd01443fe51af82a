"""One message to one receiver: an action like any other, asked for by the gate's own workload: decided, recorded, sent once.

A try that failed, or that a replica died at, is followed by another under a key of its own; what an earlier try is known
to have delivered is not sent again. A message bears the id of the event that it tells of, whichever try and replica
sends it, so that a receiver that gets it twice knows.
"""

from collections.abc import Mapping

from broker.clock import Clock
from broker.errors import Conflict, UpstreamFailed
from broker.model import Json
from broker.pipeline import Pipeline
from broker.reading import Ask
from broker.remedies import verifier

ENV = "prod"


class Messages:
    """Sends through the pipeline."""

    def __init__(self, *, pipeline: Pipeline, clock: Clock) -> None:
        self._pipeline = pipeline
        self._clock = clock

    async def send(  # noqa: PLR0913 - one keyword a part of it
        self,
        tenant: str,
        receiver: str,
        message: Mapping[str, Json],
        *,
        action: str,
        event: str,
        reason: str,
        tries: int = 1,
    ) -> None:
        """Return once ``receiver`` took it; ``tries`` counts this one. Raises as the pipeline."""
        said = {**message, "event": event}
        for number in range(1, tries + 1):
            ask = Ask(
                action=action,
                resource={"type": "webhook", "id": receiver, "env": ENV},
                arguments=said,
                reason=reason,
                idempotency_key=f"{event}.{receiver}.{number}",
            )
            try:
                await self._pipeline.own(verifier(tenant, self._clock), ask)
            except (UpstreamFailed, Conflict):
                # It failed then, or nobody knows whether it arrived: the next key is that of the next try.
                if number == tries:
                    raise
            else:
                return
