"""One tenant's approvals, in the words of a test."""

import asyncio
from typing import Any

from broker.approvals import Answer, Approvals, Proposal
from broker.clock import SeededClock
from broker.model import Principal
from tests.stores import PLAN, SHRINK, agent, decision_of, digest_of, duty_of, human, request_of


class Desk:
    """One tenant's approvals, in the words of a test."""

    def __init__(self, approvals: Approvals, clock: SeededClock, tenant: str) -> None:
        self.approvals, self.clock, self.tenant = approvals, clock, tenant
        self.agent = agent("agent-1", tenant)
        self.ann = human("ann", "oncall", tenant=tenant)
        self.bob = human("bob", "oncall", tenant=tenant)

    @property
    def now(self) -> int:
        return self.clock.now_ns() // 10**9

    def propose(
        self, *, by: Principal | None = None, request: Any = None, revision: str = "r1", **duty: Any
    ) -> Proposal:
        asked = request or request_of(self.tenant, amount=50, targets=["a", "b", "c"], text="x")
        return asyncio.run(
            self.approvals.propose(
                principal=by or self.agent,
                request=asked,
                decision=decision_of(SHRINK, revision=revision),
                duty=duty_of(**duty),
                plan=PLAN,
                rollback_digest="rb",
            )
        )

    def review(self, proposal: Proposal, by: Principal, verdict: str = "approve", **more: Any) -> Proposal:
        """An answer, on record."""
        after = self.answer(proposal, by, verdict, **more)
        for one in after.reviews:
            if one.reviewer == by.subject.id:
                after = asyncio.run(self.approvals.recorded(self.tenant, proposal.id, one))
        return after

    def answer(self, proposal: Proposal, by: Principal, verdict: str = "approve", **more: Any) -> Proposal:
        """An answer that the log does not have."""
        answer = Answer(verdict, more.pop("digest", proposal.digest), **more)
        return asyncio.run(
            self.approvals.review(
                by, proposal.id, answer, rebind=lambda p, arguments: digest_of(arguments, p.action_id)
            )
        )

    def begin(self, proposal: Proposal, digest: str = "") -> None:
        asyncio.run(self.approvals.begin_execution(self.tenant, proposal.id, digest or proposal.digest, self.now))

    def finish(self, proposal: Proposal, status: str) -> None:
        asyncio.run(self.approvals.finish(self.tenant, proposal.id, status))

    def state(self, proposal: Proposal) -> str:
        return asyncio.run(self.approvals.get(self.tenant, proposal.id)).state

    def approved(self) -> Proposal:
        return self.review(self.propose(), self.ann)
