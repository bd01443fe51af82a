"""What people answered, on record: an answer counts from the moment that the log has its record, and not before.

The row of an answer comes first, with all that its record says; a process that dies between the two leaves an answer
that is owed to the log and counts for nothing. Whoever finds it puts it on record, under the same event id, so that it
stands there once.

A request that is not on record itself takes no answers: whoever asked puts it there by asking again under the same key,
before it is withdrawn or after. An answer that can never be put on record never counts, and is not tried again.
"""

from contextlib import suppress

from audit.errors import AuditError, PayloadCorrupt
from broker.approvals import NO_ANSWER, Answer, Approvals, Due, Proposal, Rebind, Review, principal_of
from broker.errors import AuditUnavailable, BrokerError, Conflict, ReviewOwed, Unavailable
from broker.model import Principal
from broker.records import Records
from broker.store.rows import unpack
from broker.telemetry import Telemetry

RETRY_SECONDS = 5
UNRECORDED_SECONDS = 60
"""So old, a request that waits is on record, or never will be."""
INVALID, UNASKED = "audit.record_invalid", "audit.no_proposal"


class Reviews:
    """Records answers, and lets them count."""

    def __init__(self, *, approvals: Approvals, records: Records, approved: Due, telemetry: Telemetry) -> None:
        """``approved`` takes the proposals whose quorum is met."""
        self._approvals = approvals
        self._records = records
        self._approved = approved
        self._telemetry = telemetry
        self._seen = NO_ANSWER
        self._asked: set[tuple[str, str]] = set()

    async def give(self, reviewer: Principal, approval: str, answer: Answer, rebind: Rebind) -> Proposal:
        """Store an answer, put it on record, let it count; raises as ``Approvals.review``, and ``ReviewOwed``.

        ``AuditUnavailable``: nothing is stored where what is answered is not on record (``audit.no_proposal``); and an
        answer of which no record can be made (``audit.record_invalid``) is stored and never counts.
        """
        await self._approvals.get(reviewer.tenant, approval)
        if not await self._records.has(reviewer.tenant, f"{approval}.proposal"):
            raise _unasked()
        found = await self._approvals.review(reviewer, approval, answer, rebind=rebind)
        try:
            for one in found.reviews:
                if one.reviewer == reviewer.subject.id and one.owes:
                    found = await self.count(found, one)
        except Unavailable as error:
            if error.error_code == INVALID:
                raise
            raise ReviewOwed(retry_after=RETRY_SECONDS) from error
        return found

    async def count(self, found: Proposal, answer: Review) -> Proposal:
        """Put ``answer`` on record and let it count; again changes nothing.

        Raises ``Unavailable``: then it stays owed, and ``catch_up`` comes back to it; but not to one of which no record
        can be made (``audit.record_invalid``), nor to one whose request is over and was never on record
        (``audit.no_proposal``).
        """
        asked = f"{found.id}.proposal"
        try:
            if not await self._records.has(found.tenant, asked):
                raise _unasked()
            await self._record(found, answer, asked)
        except AuditUnavailable as error:
            over = error.error_code == UNASKED and found.state != "waiting"
            if over or error.error_code == INVALID:
                await self._approvals.drop(found.tenant, found.id, answer.reviewer, answer.digest, answer.verdict)
            raise
        after = await self._approvals.recorded(found.tenant, found.id, answer)
        if after.state == "approved":
            self._approved.add(after)
        return after

    async def _record(self, found: Proposal, answer: Review, asked: str) -> None:
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

    async def catch_up(self) -> None:
        """Put on record what a crash, or a log that was away, left owed: a round goes on where the last one ended."""
        owed = await self._approvals.owed(self._seen) or await self._approvals.owed()
        for self._seen in owed:
            if not await self._tried(*self._seen):
                return

    async def withdraw(self) -> None:
        """Withdraw what waits and never came on record, because the log was away or the process died before it."""
        waiting = set(await self._approvals.waiting(UNRECORDED_SECONDS))
        self._asked &= waiting
        for tenant, approval in sorted(waiting - self._asked):
            if await self._records.has(tenant, f"{approval}.proposal"):
                self._asked.add((tenant, approval))
                continue
            with suppress(Conflict):  # somebody was faster
                await self._approvals.cancel(tenant, approval)
                self._telemetry.warning("request.unrecorded", approval=approval)

    async def settle(self, tenant: str, reviewer: str) -> None:
        """Put on record all that ``reviewer`` answered: a signature precedes the removal of the key that made it.

        Raises ``AuditUnavailable`` unless all of it is there. What no record can be made of now is dropped: it counted
        for nothing, and a removal does not wait for ever.
        """
        for name in await self._approvals.owed_by(tenant, reviewer):
            if not await self._tried(*name, last=True):
                break
        if await self._approvals.owed_by(tenant, reviewer):
            raise AuditUnavailable("what this person answered is not on record yet", retry_after=RETRY_SECONDS)

    async def _tried(self, tenant: str, approval: str, *name: str, last: bool = False) -> bool:
        """Try one owed answer, which ``name`` tells from others; False where the log is away, for all of them.

        One whose row makes no record never will: it is dropped. One whose payload does not seal under its key waits for
        whoever mends the key, but where this is its ``last`` try.
        """
        try:
            found = await self._approvals.get(tenant, approval)
            for answer in found.reviews:
                if (answer.reviewer, answer.digest, answer.verdict) == name and answer.owes:
                    await self.count(found, answer)
        except BrokerError as error:
            self._telemetry.warning("review.owed", approval=approval, code=error.error_code)
            return error.error_code != AuditUnavailable.code
        except (AuditError, LookupError, TypeError, ValueError) as error:
            # It cannot be read, or the log contradicts itself about it: that holds up no other.
            self._telemetry.crash("reviews.owed", error)
            if not isinstance(error, AuditError) or (last and isinstance(error, PayloadCorrupt)):
                await self._approvals.drop(tenant, approval, *name)
                self._telemetry.warning("review.dropped", approval=approval)
        return True


def _unasked() -> AuditUnavailable:
    return AuditUnavailable(
        "the request is not on record, so it takes no answers; it will be withdrawn, and may be sent again",
        code="audit.no_proposal",
    )
