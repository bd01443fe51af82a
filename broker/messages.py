"""One message to one receiver: an action like any other, asked for by the gate's own workload: decided, recorded, sent once.

A try that failed, or that a replica died at, is followed by another under a key of its own; what an earlier try is known
to have delivered is not sent again, whatever it said then: what is told may have changed since. A message bears the id
of the event that it tells of, whichever try and replica sends it, so that a receiver that gets it twice knows.
"""

from collections.abc import Mapping
from itertools import count

from broker.clock import Clock
from broker.model import Json
from broker.pipeline import Pipeline
from broker.reading import Ask, Reader
from broker.remedies import verifier

ENV = "prod"


class Messages:
    """Sends through the pipeline."""

    def __init__(self, *, pipeline: Pipeline, reader: Reader, clock: Clock) -> None:
        self._pipeline = pipeline
        self._reader = reader
        self._clock = clock

    async def send(  # noqa: PLR0913 - one keyword a part of it
        self, tenant: str, receiver: str, message: Mapping[str, Json], *, action: str, event: str, reason: str
    ) -> None:
        """Return once ``receiver`` took what tells of ``event``, now or at an earlier try. Raises as the pipeline."""
        own = verifier(tenant, self._clock)
        for number in count(1):
            key = f"{event}.{receiver}.{number}"
            past = await self._reader.past(own, key)
            if past is None:
                break
            if past.status == "done":
                return
        ask = Ask(
            action=action,
            resource={"type": "webhook", "id": receiver, "env": ENV},
            arguments={**message, "event": event},
            reason=reason,
            idempotency_key=key,
        )
        await self._pipeline.own(own, ask)
