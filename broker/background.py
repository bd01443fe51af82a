"""The gate's own due work in each replica: publishing, resuming, expiring, recovering, refreshing.

Nothing here decides or executes by itself: a resumed request goes down the pipeline like a fresh one, and an intent
that a crash left open is closed as what the target says of it, or as ``unknown``; it is never repeated.
"""

import asyncio
import math
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from audit.errors import AuditError, HistoryConflict
from audit.log import Entry, Log
from audit.publisher import Publisher
from broker.acts import Acts
from broker.aftermath import Aftermath
from broker.answers import finished
from broker.approvals import Approvals, Due, Proposal
from broker.catalog import Catalog
from broker.clock import Clock, seconds
from broker.connectors.base import Connector
from broker.errors import BrokerError, Conflict, Unauthenticated, Unavailable
from broker.identity import Verifier
from broker.incident_acts import IncidentActs
from broker.messages import WAITING
from broker.obligations import GRANT_SECONDS
from broker.pipeline import Pipeline
from broker.policy.pdp import PolicyDecisionPoint
from broker.records import Records
from broker.reviews import Reviews
from broker.store.rows import EVERY_TENANT
from broker.store.work import ATTEMPTS_MAX, CALLS_S
from broker.telemetry import Telemetry
from broker.work import Claimed, Work

SWEEP_SECONDS = 5.0
REFRESH_SECONDS = 60.0
POLL_SECONDS = 1.0
COUNT_SECONDS = 10.0
ABANDONED_SECONDS = 1800
"""Longer than any connector's timeout: an intent this old is not being executed by anybody."""
RESUMES_AT_ONCE = 4
HOLD_SECONDS = 120
POSTPONED_SECONDS = 5
POSTPONED_SECONDS_MAX = 300
"""So soon, at the latest, a receiver that is there again is told what it missed."""
MARK_SECONDS = 15.0
"""What is cut off at the end still gets its outcome on record, however late it is: as long as the log waits for a commit."""


class Stopping:
    """Whether this process was told to end, and when what is under way has to be done: one moment for all of it."""

    def __init__(self, clock: Clock, *, notice_seconds: float, seconds_max: float) -> None:
        """Told to end, it says so for ``notice_seconds``; then all together has ``seconds_max``."""
        self._clock = clock
        self._notice = notice_seconds
        self._most = seconds_max
        self._by: float | None = None

    def set(self) -> None:
        """It was told; again changes nothing."""
        if self._by is None:
            self._by = self._clock.monotonic() + self._notice + self._most

    def is_set(self) -> bool:
        """Whether it was told."""
        return self._by is not None

    def left(self) -> float:
        """Seconds that what is under way still has; all of them where nobody told the process yet."""
        return self._most if self._by is None else min(self._most, max(0.0, self._by - self._clock.monotonic()))


class Background:
    """Runs from the application's start to its end."""

    def __init__(  # noqa: PLR0913 - the composition root names each part once
        self,
        *,
        pipeline: Pipeline,
        acts: Acts,
        incident_acts: IncidentActs,
        approvals: Approvals,
        approved: Due,
        records: Records,
        log: Log,
        publisher: Publisher,
        policy: PolicyDecisionPoint,
        identity: Verifier,
        connectors: Mapping[str, Connector],
        clock: Clock,
        telemetry: Telemetry,
        load_policy: Callable[[], Awaitable[None]],
        publish_seconds: float,
        shared: bool,
        aftermath: Aftermath,
        work: Work,
        steps: Mapping[str, Callable[[Claimed], Awaitable[None]]],
        index: Callable[[], Awaitable[None]],
        counts: Callable[[], Awaitable[None]],
        stopping: Stopping,
        tools: Callable[[], Awaitable[None]],
        reviews: Reviews,
    ) -> None:
        """``index`` brings the index of the log up to the log. ``steps`` do the gate's own kinds of work.

        ``tools`` looks whether the tools of other systems are as they were pinned.
        ``shared``: other replicas write to the same log, so an open intent may be theirs and alive.
        """
        self._pipeline = pipeline
        self._acts = acts
        self._incident_acts = incident_acts
        self._approvals = approvals
        self._approved = approved
        self._records = records
        self._log = log
        self._publisher = publisher
        self._policy = policy
        self._identity = identity
        self._connectors = connectors
        self._clock = clock
        self._telemetry = telemetry
        self._load_policy = load_policy
        self._publish_seconds = publish_seconds
        self._shared = shared
        self._aftermath = aftermath
        self._work = work
        self._steps = steps
        self._index = index
        self._counts = counts
        self._stopping = stopping
        self._tools = tools
        self._reviews = reviews
        self._holder = f"gate:{secrets.token_hex(8)}"
        self._tasks: list[asyncio.Task[None]] = []
        self._sizes: dict[str, int] = {}
        self._resuming: set[str] = set()
        self._left_open: list[tuple[str, Entry]] = []

    async def start(self) -> None:
        """Begin every loop; recovery of what a crash left open comes first."""
        await self._quietly("recovery", self._look_back)
        await self._quietly("recovery", self.recover)
        await self._quietly("settle", partial(self.settle, GRANT_SECONDS if self._shared else 0))
        await self.publish()
        loops: Sequence[tuple[str, float, Callable[[], Awaitable[None]]]] = (
            ("publish", self._publish_seconds, self.publish),
            ("events", POLL_SECONDS, self._incident_acts.record),
            ("index", POLL_SECONDS, self._index),
            ("counts", COUNT_SECONDS, self._counts),
            ("sweep", SWEEP_SECONDS, self.sweep),
            ("work", POLL_SECONDS, self.work_off),
            ("refresh", REFRESH_SECONDS, self._identity.refresh),
            ("policy", POLL_SECONDS, self._follow_policy),
            ("tools", POLL_SECONDS, self._tools),
        )
        self._tasks = [asyncio.create_task(self._every(name, seconds, work)) for name, seconds, work in loops]
        self._tasks += [asyncio.create_task(self._resume_approved()) for _ in range(RESUMES_AT_ONCE)]

    async def aclose(self) -> None:
        """Stop the loops, let effects under way finish or call them unknown, publish the last checkpoint.

        An outcome that the log does not take in time stays owed: the next start closes its intent.
        """
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        left = self._stopping.left()
        with suppress(TimeoutError):
            async with asyncio.timeout(left + MARK_SECONDS):
                await self._pipeline.drain(left)
        await self._quietly("publish", self.publish)

    async def publish(self) -> None:
        """Bring the published folders up to date."""
        try:
            checkpoints = await asyncio.to_thread(self._publisher.publish_all)
        except HistoryConflict as error:
            # The database is not the one whose log was signed: nothing may be added to it until a person has looked.
            self._log.halt("the database contradicts what was signed before")
            self._telemetry.warning("log.halted", error=type(error).__name__)
            return
        self._telemetry.gauge("checkpoint_timestamp_seconds", seconds(self._clock))
        for origin, checkpoint in checkpoints.items():
            self._sizes[origin] = checkpoint.size
        self._telemetry.gauge("log_size", sum(self._sizes.values()))

    async def sweep(self) -> None:
        """Store expiries, put on record what people answered, and take up approvals that no process resumed."""
        if await self._approvals.expire():
            await self._acts.notify()
        await self._quietly("reviews", self._reviews.withdraw)
        await self._quietly("reviews", self._reviews.catch_up)
        for tenant in await self._records.tenants():
            page = await self._approvals.page(tenant, ("approved",))
            for proposal in page.items:
                await self.resume(proposal)
        await self.settle(older_than_s=GRANT_SECONDS)
        await self.recover()

    async def settle(self, older_than_s: int = 0) -> None:
        """Close redeemed approvals that nobody closed: by the outcome on record, as cancelled where nothing began."""
        now = seconds(self._clock)
        for tenant in await self._records.tenants():
            for proposal in (await self._approvals.page(tenant, ("executing",))).items:
                past = await self._records.past(tenant, proposal.action_id)
                if past is not None and past.outcome is not None:
                    await self._approvals.finish(tenant, proposal.id, finished(past.status))
                elif past is None and now - proposal.changed_at >= older_than_s:
                    await self._approvals.finish(tenant, proposal.id, "cancelled")

    async def resume(self, proposal: Proposal) -> None:
        """Take one approved request down the pipeline again; a refusal closes it, an outage leaves it for later.

        A requester whose sign-in is too old leaves it, too: until it expires, their own fresh request resumes it.
        A process that ends begins nothing: the next one, or another replica, takes it up.
        """
        if proposal.action_id in self._resuming or self._stopping.is_set():
            return
        self._resuming.add(proposal.action_id)
        try:
            # The queue may hold it twice, and another replica may have been faster.
            now = await self._approvals.get(proposal.tenant, proposal.id)
            if now.state == "approved":
                await self._pipeline.requester(now)  # nothing is measured for what cannot run now
                await self._quietly("baseline", partial(self._aftermath.before, now))
                await self._pipeline.resume(now)
                await self._acts.notify()
        except (Unavailable, Unauthenticated) as error:
            self._telemetry.warning("resume.postponed", code=error.error_code)
            return
        except Conflict as error:
            # Another replica was first, the target is held for a while, or the plan drifted; the last ends it.
            self._telemetry.event("resume.refused", code=error.error_code)
            if error.retry_after is None:
                await self._withdraw(proposal, error.error_code)
        except BrokerError as error:
            self._telemetry.event("resume.refused", code=error.error_code)
            await self._withdraw(proposal, error.error_code)
        finally:
            self._resuming.discard(proposal.action_id)

    async def recover(self) -> None:
        """Close intents that nobody will close: ask the target, never repeat.

        Those that this process found at its start are nobody's where it owns the data folder alone; of all others,
        those that no connector could still be at. Without a catalog nobody could be asked: then later.
        """
        if self._policy.active is None:
            return
        found, self._left_open = self._left_open, []
        abandoned = self._clock.now_ns() - ABANDONED_SECONDS * 10**9
        for tenant in await self._records.tenants():
            found += [
                (tenant, entry) for entry in await self._records.open_intents(tenant) if entry.time_ns < abandoned
            ]
        for tenant, entry in found:
            await self._quietly("recovery", partial(self._close, tenant, entry))

    async def _look_back(self) -> None:
        """What the process before this one left open."""
        if not self._shared:
            for tenant in await self._records.tenants():
                self._left_open += [(tenant, entry) for entry in await self._records.open_intents(tenant)]

    async def _close(self, tenant: str, entry: Entry) -> None:
        """One open intent: what the target knows of it goes on record."""
        action: Mapping[str, Any] = entry.body["action"]
        name, connector = str(action["name"]), self._connectors.get(str(action.get("connector", "")))
        declared = self._catalog().find(name)
        status, detail = "unknown", "the connector is not configured any more"
        if connector is not None:
            try:
                known = await connector.status_of(entry.id, declared)
                status, detail = known.status, known.detail
            except BrokerError as error:
                detail = error.error_code
        await self._records.recovery(tenant, entry.id, status=status, detail=detail)
        if status == "not_done":
            await self._aftermath.did_not_happen(tenant, entry.id)
        self._telemetry.warning("intent.recovered", action=entry.id, status=status)
        if status != "unknown":
            await self._pipeline.let_go(tenant, entry.id)

    def _catalog(self) -> Catalog:
        return self._policy.catalog

    async def work_off(self) -> None:
        """Take up the gate's own steps that are due, in the order of their turn, until none is left or the process ends."""
        while not self._stopping.is_set() and (
            claimed := await self._work.claim(EVERY_TENANT, self._steps, self._holder, HOLD_SECONDS)
        ):
            await self._quietly(f"work.{claimed.kind}", partial(self._do, claimed))
            await self._quietly("events", partial(self._incident_acts.record, claimed.tenant, claimed.incident))

    async def _do(self, claimed: Claimed) -> None:
        """One step; what fails comes again later, and after some tries is set aside: ``Work.claim`` says when."""
        try:
            await self._steps[claimed.kind](claimed)
        except BrokerError as error:
            self._telemetry.warning("work.postponed", kind=claimed.kind, code=error.error_code)
            waits = isinstance(error, WAITING)
            attempts = claimed.attempts if error.lost or not waits else 0
            delay = max(POSTPONED_SECONDS, math.ceil(error.retry_after or 0) if waits else 0)
            if claimed.kind in CALLS_S and attempts:
                delay = max(delay, min(POSTPONED_SECONDS << min(attempts - 1, 10), POSTPONED_SECONDS_MAX))
            if waits:
                # Who is told to wait has not failed: a flood of incidents must not set the call for people aside.
                attempts = min(attempts, ATTEMPTS_MAX - 1)
            with suppress(Conflict):
                await self._work.postpone(claimed, delay, attempts=attempts)

    async def _withdraw(self, proposal: Proposal, code: str) -> None:
        """An approved request that was refused at its use does not come back by itself."""
        await self._aftermath.refused(proposal, code)
        with suppress(Conflict):
            await self._approvals.cancel(proposal.tenant, proposal.id)
            await self._acts.notify()

    async def _resume_approved(self) -> None:
        """Resume at once what reached its quorum in this process."""
        while True:
            proposal = await self._approved.take()
            await self._quietly("resume", partial(self.resume, proposal))

    async def _follow_policy(self) -> None:
        """Pick up what another replica activated; load the first bundle where none could be loaded yet."""
        if self._policy.active is None:
            await self._load_policy()
        if await self._policy.poll():
            self._telemetry.event(
                "policy.activated", revision=self._policy.active.revision if self._policy.active else ""
            )

    async def _every(self, name: str, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """Do ``work`` again and again; one failure is reported and the next round comes all the same."""
        while True:
            await asyncio.sleep(seconds)
            await self._quietly(name, work)

    async def _quietly(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except (BrokerError, AuditError) as error:
            self._telemetry.warning("background.failed", work=name, error=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - a process edge: the loop must outlive any round
            self._telemetry.crash(f"background.{name}", error)
