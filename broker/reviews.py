"""What people answered, on record: an answer counts from the moment that the log has its record, and not before.

The row of an answer comes first, with all that its record says; a process that dies between the two leaves an answer
that is owed to the log and counts for nothing. Whoever finds it puts it on record, under the same event id, so that it
stands there once.
"""

from audit.errors import AuditError
from broker.approvals import NO_ANSWER, Answer, Approvals, Due, Proposal, Rebind, Review, principal_of
from broker.errors import AuditUnavailable, BrokerError, ReviewOwed
from broker.model import Principal
from broker.records import Records
from broker.store.rows import unpack
from broker.telemetry import Telemetry

RETRY_SECONDS = 5


class Reviews:
    """Records answers, and lets them count."""

    def __init__(self, *, approvals: Approvals, records: Records, approved: Due, telemetry: Telemetry) -> None:
        """``approved`` takes the proposals whose quorum is met."""
        self._approvals = approvals
        self._records = records
        self._approved = approved
        self._telemetry = telemetry
        self._seen = NO_ANSWER

    async def give(self, reviewer: Principal, approval: str, answer: Answer, rebind: Rebind) -> Proposal:
        """Store an answer, put it on record, let it count; raises as ``Approvals.review``, and ``ReviewOwed``."""
        found = await self._approvals.review(reviewer, approval, answer, rebind=rebind)
        try:
            for one in found.reviews:
                if one.reviewer == reviewer.subject.id and not one.counts:
                    found = await self.count(found, one)
        except AuditUnavailable as error:
            raise ReviewOwed(retry_after=RETRY_SECONDS) from error
        return found

    async def count(self, found: Proposal, answer: Review) -> Proposal:
        """Put ``answer`` on record and let it count; again changes nothing.

        Raises ``AuditUnavailable``: then it stays owed, and ``catch_up`` comes back to it. So it does, with the code
        ``audit.no_proposal``, while the log does not have what was answered.
        """
        asked = f"{found.id}.proposal"
        if await self._records.told(found.tenant, asked) is None:
            raise AuditUnavailable("the request that was answered is not on record yet", code="audit.no_proposal")
        said = unpack(answer.owed)
        await self._records.review(
            principal_of(found.tenant, said["principal"], 0),
            approval=found.id,
            about=asked,
            digest=answer.digest,
            verdict=answer.verdict,
            given=said["given"],
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
        """Put on record what a crash, or a log that was away, left owed: a round goes on where the last one ended."""
        owed = await self._approvals.owed(self._seen) or await self._approvals.owed()
        for self._seen in owed:
            if not await self._tried(*self._seen):
                return

    async def settle(self, tenant: str) -> None:
        """Put on record what is owed of a tenant now: a signature precedes the removal of the key that made it.

        Raises ``AuditUnavailable`` where the log is away.
        """
        after = (tenant, *NO_ANSWER[1:])
        while owed := [one for one in await self._approvals.owed(after) if one[0] == tenant]:
            for after in owed:
                if not await self._tried(*after):
                    raise AuditUnavailable(retry_after=RETRY_SECONDS)

    async def _tried(self, tenant: str, approval: str, *name: str) -> bool:
        """Try one owed answer, which ``name`` tells from others; False where the log is away, for all of them."""
        try:
            found = await self._approvals.get(tenant, approval)
            for answer in found.reviews:
                if (answer.reviewer, answer.digest, answer.verdict) == name and not answer.counts:
                    await self.count(found, answer)
        except BrokerError as error:
            self._telemetry.warning("review.owed", approval=approval, code=error.error_code)
            return error.error_code != AuditUnavailable.code
        except (AuditError, LookupError, TypeError, ValueError) as error:
            # It cannot be read, or the log contradicts itself about it: that holds up no other.
            self._telemetry.crash("reviews.owed", error)
        return True
