"""Approvals against a model of eight lines: whatever people, clocks and replicas do, only what was approved runs, once."""

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from broker.approvals import Approvals, Proposal
from broker.clock import SeededClock
from broker.errors import BrokerError
from broker.store import Store
from broker.store.tables import TRANSITIONS
from tests.desks import Desk
from tests.stores import PATIENT, digest_of, fresh_tenant, human, open_store

PEOPLE = ("ann", "bob", "cy")


class Model(RuleBasedStateMachine):
    """One proposal, three people of whom one has no role, and the requester; two replicas of the gate."""

    folder: ClassVar[Path]
    stores: ClassVar[list[Store]]

    def __init__(self) -> None:
        super().__init__()
        self.clock = SeededClock()
        tenant = fresh_tenant()
        self.desks = [Desk(Approvals(store, self.clock), self.clock, tenant) for store in self.stores]
        self.people = {name: human(name, "oncall", tenant=tenant) for name in PEOPLE[:2]}
        self.people["cy"] = human("cy", "auditor", tenant=tenant)
        self.executions = 0

    @initialize(quorum=st.integers(1, 2))
    def propose(self, quorum: int) -> None:
        self.made: Proposal = self.desks[0].propose(quorum=quorum)
        self.quorum, self.state, self.amount = quorum, "waiting", 50
        self.approvers: set[str] = set()

    def digest(self) -> str:
        return digest_of({"amount": self.amount, "targets": ["a", "b", "c"], "text": "x"}, self.made.action_id)

    def expired(self) -> bool:
        return self.state in ("waiting", "approved") and self.desks[0].now >= self.made.expires_at

    def tried(self, *, allowed: bool, call: object, **arguments: object) -> bool:
        """Run ``call``; it must succeed exactly where the model says so."""
        try:
            call(**arguments)  # type: ignore[operator]
        except BrokerError as error:
            assert not allowed, error.error_code  # noqa: PT017 - the model is the judge
            return False
        assert allowed
        return True

    @rule(name=st.sampled_from(PEOPLE), shown=st.sampled_from((50, 20, 5)), replica=st.integers(0, 1))
    def approve(self, name: str, shown: int, replica: int) -> None:
        digest = digest_of({"amount": shown, "targets": ["a", "b", "c"], "text": "x"}, self.made.action_id)
        fits = shown == self.amount and self.state == "waiting" and not self.expired()
        allowed = fits and name != "cy" and name not in self.approvers
        if self.tried(
            allowed=allowed, call=self.desks[replica].review, proposal=self.made, by=self.people[name], digest=digest
        ):
            self.approvers.add(name)
            self.state = "approved" if len(self.approvers) >= self.quorum else "waiting"

    @rule(name=st.sampled_from(PEOPLE), to=st.sampled_from((60, 50, 20, 5)), replica=st.integers(0, 1))
    def narrow(self, name: str, to: int, replica: int) -> None:
        again = to == self.amount and name in self.approvers
        allowed = self.state == "waiting" and not self.expired() and name != "cy" and to <= self.amount
        allowed = allowed and not again
        call = self.desks[replica].review
        if self.tried(
            allowed=allowed,
            call=call,
            proposal=self.made,
            by=self.people[name],
            digest=self.digest(),
            narrow={"amount": to},
        ):
            self.approvers = (self.approvers if to == self.amount else set()) | {name}
            self.amount = to
            self.state = "approved" if len(self.approvers) >= self.quorum else "waiting"

    @rule(name=st.sampled_from(PEOPLE), replica=st.integers(0, 1))
    def deny(self, name: str, replica: int) -> None:
        allowed = self.state in ("waiting", "approved") and not self.expired() and name != "cy"
        call = self.desks[replica].review
        if self.tried(
            allowed=allowed, call=call, proposal=self.made, by=self.people[name], verdict="deny", digest=self.digest()
        ):
            self.state = "denied"

    @rule(replica=st.integers(0, 1), other=st.booleans())
    def execute(self, replica: int, other: bool) -> None:
        digest = "0" * 64 if other else self.digest()
        behind = self.desks[0].now + 60 < self.made.created_at
        allowed = self.state == "approved" and not self.expired() and not other and not behind
        if self.tried(allowed=allowed, call=self.desks[replica].begin, proposal=self.made, digest=digest):
            self.state = "executing"
            self.executions += 1

    @rule(replica=st.integers(0, 1), status=st.sampled_from(("done", "failed", "unknown", "cancelled")))
    def finish(self, replica: int, status: str) -> None:
        running = self.state in ("executing", "unknown")
        allowed = self.state == status or (running and (self.state, status) in TRANSITIONS)
        if self.tried(allowed=allowed, call=self.desks[replica].finish, proposal=self.made, status=status):
            self.state = status

    @rule(seconds=st.sampled_from((1, 300, 900)))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(hours=st.sampled_from((-1, 1)))
    def step(self, hours: int) -> None:
        self.clock.step_wall(3600 * hours)

    @precondition(lambda self: self.expired())
    @rule()
    def sweep(self) -> None:
        asyncio.run(self.desks[1].approvals.expire(10_000))
        self.state = "expired"

    @invariant()
    def the_gate_agrees(self) -> None:
        if not hasattr(self, "made"):
            return
        assert self.executions <= 1
        for desk in self.desks:
            found = asyncio.run(desk.approvals.get(desk.tenant, self.made.id))
            assert found.state == ("expired" if self.expired() else self.state)
            assert found.digest == self.digest()
            counted = {one.reviewer for one in found.reviews if one.verdict == "approve" and one.digest == found.digest}
            assert counted == {f"dev:{name}" for name in self.approvers}
            shown = desk.approvals.facts(found, desk.agent)
            assert bool(shown) == (found.state in ("waiting", "approved", "denied"))


class TestModel(Model.TestCase):  # type: ignore[misc]
    settings = settings(
        max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )

    @classmethod
    def setup_class(cls) -> None:
        Model.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        first = open_store("sqlite", Model.folder)
        Model.stores = [first, Store(str(first._lanes["write"].engine.url), timeouts=PATIENT)]

    @classmethod
    def teardown_class(cls) -> None:
        for store in Model.stores:
            store.close()
        shutil.rmtree(Model.folder)
