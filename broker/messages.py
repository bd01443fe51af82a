"""One message to one receiver: an action like any other, asked for by the gate's own workload: decided, recorded, sent once.

A try that failed, or that a replica died at, is followed by another under a key of its own; what an earlier try is known
to have delivered is not sent again, whatever it said then: what is told may have changed since. A message bears the id
of the event that it tells of, whichever try and replica sends it, so that a receiver that gets it twice knows.
"""

from collections.abc import Mapping, Sequence
from itertools import count

from broker.clock import Clock, seconds
from broker.errors import BrokerError, Conflict, Denied, LimitExceeded, OutcomeOwed, Unavailable
from broker.model import Json
from broker.pipeline import Pipeline
from broker.reading import Ask, Reader
from broker.remedies import verifier

ENV = "prod"
WAITING = (Unavailable, LimitExceeded)
"""Who is told this has not failed: it is not their turn yet, or the gate itself could not do its duty."""
AGAIN_SECONDS = 5.0


def foremost(failures: Sequence[BrokerError]) -> BrokerError:
    """Of what kept some receivers from a message, what says how the work goes on: it is not given up where one must wait.

    Whether another one was ``lost`` goes with it: who is down is asked later and later all the same.
    """
    first = next((one for one in failures if isinstance(one, WAITING)), failures[0])
    first.lost = any(not isinstance(one, WAITING) for one in failures)
    return first


class Messages:
    """Sends through the pipeline."""

    def __init__(self, *, pipeline: Pipeline, reader: Reader, clock: Clock) -> None:
        self._pipeline = pipeline
        self._reader = reader
        self._clock = clock

    async def send(  # noqa: PLR0913 - one keyword a part of it
        self, tenant: str, receiver: str, message: Mapping[str, Json], *, action: str, event: str, reason: str
    ) -> None:
        """Return once ``receiver`` took what tells of ``event``, now or at an earlier try.

        Raises as the pipeline; ``OutcomeOwed`` while an earlier try may still be under way; ``Denied`` and ``Conflict``
        where policy lets nothing be sent, or not before a person has approved it.
        """
        own = verifier(tenant, self._clock)
        for number in count(1):
            key = f"{event}.{receiver}.{number}"
            past = await self._reader.past(own, key)
            if past is None:
                break
            if past.status == "done":
                return
            if past.outcome is None and seconds(self._clock) < past.granted_until:
                raise OutcomeOwed(retry_after=AGAIN_SECONDS)
        ask = Ask(
            action=action,
            resource={"type": "webhook", "id": receiver, "env": ENV},
            arguments={**message, "event": event},
            reason=reason,
            idempotency_key=key,
        )
        status = (await self._pipeline.own(own, ask)).status
        if status == "waiting":
            raise Conflict("people have not approved this yet", code="approval.waiting", remedy="wait for the reviews")
        if status != "done":
            raise Denied("dry run only; nothing was sent", code="obligation.dry_run")
