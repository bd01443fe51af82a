"""What people answered, on record: an answer counts from the moment that the log has its record, and not before.

The row of an answer comes first, with all that its record says; a process that dies between the two leaves an answer
that is owed to the log and counts for nothing. Whoever finds it puts it on record, under the same event id, so that it
stands there once.
"""

from broker.approvals import Answer, Approvals, Due, Proposal, Rebind, Review, principal_of
from broker.errors import BrokerError
from broker.model import Principal
from broker.records import Records
from broker.store.rows import unpack
from broker.telemetry import Telemetry


class Reviews:
    """Records answers, and lets them count."""

    def __init__(self, *, approvals: Approvals, records: Records, approved: Due, telemetry: Telemetry) -> None:
        """``approved`` takes the proposals whose quorum is met."""
        self._approvals = approvals
        self._records = records
        self._approved = approved
        self._telemetry = telemetry

    async def give(self, reviewer: Principal, approval: str, answer: Answer, rebind: Rebind) -> Proposal:
        """Store an answer, put it on record, let it count; raises as ``Approvals.review`` and ``count``."""
        found = await self._approvals.review(reviewer, approval, answer, rebind=rebind)
        for one in found.reviews:
            if one.reviewer == reviewer.subject.id and not one.counts:
                found = await self.count(found, one)
        return found

    async def count(self, found: Proposal, answer: Review) -> Proposal:
        """Put ``answer`` on record and let it count; again changes nothing.

        Raises ``AuditUnavailable``: then it stays owed, and ``catch_up`` comes back to it.
        """
        said = unpack(answer.owed)
        given = [one for one in found.reviews if one.verdict == "approve" and one.digest == answer.digest]
        await self._records.review(
            principal_of(found.tenant, said["principal"], 0),
            approval=found.id,
            about=f"{found.id}.proposal",
            digest=answer.digest,
            verdict=answer.verdict,
            given=sum(1 for one in given if one.counts or one == answer),
            quorum=found.quorum,
            session=found.session,
            reason=answer.reason,
            signed=said["proven"],
        )
        after = await self._approvals.recorded(found.tenant, found.id, answer)
        if after.state == "approved":
            self._approved.add(after)
        return after

    async def catch_up(self) -> None:
        """Put on record what a crash, or a log that was away, left owed."""
        for found in await self._approvals.owed():
            for answer in found.reviews:
                if answer.counts:
                    continue
                try:
                    await self.count(found, answer)
                except BrokerError as error:
                    self._telemetry.warning("review.owed", approval=found.id, code=error.error_code)
