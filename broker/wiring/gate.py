"""The one path through a gate, the gate's own acts and work, and its life."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import cached_property, partial
from typing import Any

from broker.acts import Acts
from broker.aftermath import Aftermath
from broker.alarms import Alarms
from broker.attempts import Attempts
from broker.authenticator_acts import Signing
from broker.background import Background
from broker.breakglass import WORK
from broker.connectors.base import Connector
from broker.connectors.registry import build_connector, read_settings
from broker.connectors.seal import Seal
from broker.datafolder import alone
from broker.errors import BrokerError
from broker.evaluating import Evaluating
from broker.health import Health
from broker.leases import Leases
from broker.messages import Messages
from broker.model import Json, Principal
from broker.notices import Notices
from broker.obligations import Obligations
from broker.offers import Offers
from broker.pipeline import Pipeline
from broker.policy.bundle import Bundle
from broker.policy_acts import PolicyActs
from broker.quarantine import Quarantine
from broker.reading import Ask, Reader
from broker.remedies import Situations
from broker.remedies.measure import Measuring
from broker.reviewing import Reviewing
from broker.simulating import Simulating
from broker.streams import Streams
from broker.timeboxes import TimeBoxes
from broker.turns import Turns
from broker.wiring import watching
from broker.wiring.rooms import Rooms


class Wiring(Rooms):
    """A gate of ``settings``. Raises ``BadRequest`` that names the wrong setting when a part is first asked for."""

    @cached_property
    def health(self) -> Health:
        """How the gate is, for people."""
        return Health(
            settings=self.settings,
            policy=self.policy,
            bundles=self.bundles,
            identity=self.identity,
            records=self.records,
            store=self.store,
            clock=self.clock,
            missing=self.missing,
            quarantine=lambda: self.quarantine,
        )

    @cached_property
    def quarantine(self) -> Quarantine:
        """Whether other systems' tools are as they were pinned."""
        return Quarantine(
            connectors=self.connectors,
            catalog=lambda: self.policy.catalog,
            revision=lambda: self.policy.active.revision if self.policy.active else "",
            records=self.records,
            telemetry=self.telemetry,
            tenant=self.settings.gate.operator_tenant or self.settings.gate.default_tenant,
            clock=self.clock,
        )

    @cached_property
    def acts(self) -> Acts:
        """The gate's own acts."""
        bounds = self.settings.sessions
        return Acts(
            sessions=self.sessions,
            approvals=self.approvals,
            kills=self.kills,
            policy=self.policy,
            bundles=self.bundles,
            records=self.records,
            store=self.store,
            inventory=self.settings.resource,
            clock=self.clock,
            session_seconds=bounds.seconds_max,
            budgets={"actions": bounds.actions_max, "tokens": bounds.tokens_max},
            reviews=self.reviews,
            beside=self.reviewing.beside,
            signing=Signing(desk=self.authenticators, approvals=self.approvals, records=self.records, clock=self.clock),
            more={
                **self.authenticator_acts.acts,
                **self.breakglass_acts.acts,
                **self.incident_acts.acts,
                **self.log_acts.acts,
                **self.health.acts,
                **self.lab.acts,
                **self.policies.acts,
                **self.simulating.acts,
                **self.evaluating.acts,
                **self.offers.acts,
                **self.timebox_acts.acts,
                **self.usage.acts,
                **self.roster.acts,
            },
        )

    @cached_property
    def polls(self) -> Attempts:
        """Counts who looks for work."""
        web = self.settings.web
        bounds = {"attempts_per_minute_max": web.polls_per_minute_max, "attempts_burst_max": web.polls_burst_max}
        return Attempts(self.clock, self.telemetry, web.model_copy(update=bounds))

    @cached_property
    def _seal(self) -> Seal:
        """Marks the gate's own commits."""
        return Seal(self.keys.secret("commits.key"))

    @cached_property
    def connectors(self) -> Mapping[str, Connector]:
        """Adapters to outside systems by name, and the gate's own."""
        made: dict[str, Connector] = {self.acts.name: self.acts}
        for one in self.settings.connectors:
            made[one.name] = build_connector(
                read_settings(one.adapter, one.name, one.settings), self.egress, self.clock, self._seal
            )
        return made

    @cached_property
    def policies(self) -> PolicyActs:
        """What people read and try of the policy."""
        return PolicyActs(
            policy=self.policy,
            bundles=self.bundles,
            kills=self.kills,
            asks=self._asks,
            telemetry=self.telemetry,
        )

    def _asks(self, principal: Principal, bundle: Bundle) -> Mapping[str, Mapping[str, Json]]:
        # The two rooms need each other: this is looked up when it is asked.
        return self.simulating.asks(principal, bundle)

    @cached_property
    def simulating(self) -> Simulating:
        """One request explained."""
        return Simulating(
            policy=self.policy,
            bundle=self.policies.bundle,
            kills=self.kills,
            records=self.records,
            sessions=self.sessions,
            inventory=self.settings.resource,
            connectors=lambda: self.connectors,
            clock=self.clock,
        )

    @cached_property
    def offers(self) -> Offers:
        """What there is to ask for."""
        return Offers(
            policy=self.policy, inventory=self.settings.resources, connectors=lambda: self.connectors, clock=self.clock
        )

    @cached_property
    def evaluating(self) -> Evaluating:
        """Decisions for those who enforce them elsewhere."""
        return Evaluating(
            policy=self.policy,
            store=self.store,
            index=self.log_index,
            inventory=self.settings.resources,
            connectors=lambda: self.connectors,
            clock=self.clock,
        )

    @cached_property
    def reader(self) -> Reader:
        """Reads asks and waiting requests."""
        return Reader(
            catalog=lambda: self.policy.catalog,
            store=self.store,
            sessions=self.sessions,
            records=self.records,
            redactor=self.redactor,
            inventory=self.settings.resource,
            clock=self.clock,
            id_key=self.keys.secret("id.key"),
            region=self.settings.redaction.region,
            turns=self.turns,
        )

    @cached_property
    def turns(self) -> Turns:
        """What went out of model answers, for calls that name it."""
        return Turns(self.store, self.clock, self.telemetry)

    @cached_property
    def situations(self) -> Situations:
        """What the gate's own rows say of an incident's request."""
        return Situations(
            store=self.store,
            clock=self.clock,
            topology=self.topology,
            evidence=self.evidence,
            catalog=lambda: self.policy.catalog,
            inventory=self.settings.resource,
            times=self._times,
        )

    @cached_property
    def reviewing(self) -> Reviewing:
        """What a reviewer is shown."""
        return Reviewing(
            reader=self.reader,
            situations=self.situations,
            parties=self.parties,
            evidence=self.evidence,
            policy=self.policy,
            connectors=lambda: self.connectors,
            search=self.log_index.search,
            clock=self.clock,
        )

    @cached_property
    def pipeline(self) -> Pipeline:
        """The one path."""
        obligations = Obligations(
            limits=self.limits,
            approvals=self.approvals,
            leases=Leases(self.store, self.clock),
            sessions=self.sessions,
            redactor=self.redactor,
            breakglass=self.breakglass,
            clock=self.clock,
            unsigned=self.authenticators.site.why_not,
        )
        return Pipeline(
            identity=self.identity,
            attempts=Attempts(self.clock, self.telemetry, self.settings.web),
            parties=self.parties,
            reader=self.reader,
            sessions=self.sessions,
            kills=self.kills,
            approvals=self.approvals,
            policy=self.policy,
            obligations=obligations,
            records=self.records,
            connectors=self.connectors,
            clock=self.clock,
            telemetry=self.telemetry,
            approval_grace_seconds=self.settings.sessions.approval_grace_seconds,
            situations=self.situations,
        )

    @cached_property
    def streams(self) -> Streams:
        """Model calls whose answer is a stream."""
        return Streams(pipeline=self.pipeline, redactor=self.redactor, telemetry=self.telemetry, turns=self.turns)

    @cached_property
    def aftermath(self) -> Aftermath:
        """What comes after an agent's last step."""

        async def look(principal: Principal, **asked: Any) -> Mapping[str, Json]:
            return (await self.pipeline.own(principal, Ask(**asked))).body

        def slis() -> Mapping[str, Any]:
            active = self.policy.active
            return active.content.config.get("slis", {}) if active else {}

        return Aftermath(
            pipeline=self.pipeline,
            incidents=self.incidents,
            work=self.work,
            records=self.records,
            store=self.store,
            topology=self.topology,
            measuring=Measuring(
                look=look,
                slis=slis,
                catalog=lambda: self.policy.catalog,
                inventory=self.settings.resource,
                clock=self.clock,
            ),
            catalog=lambda: self.policy.catalog,
            times=self._times,
            facts=self.incident_acts.actions,
            clock=self.clock,
            telemetry=self.telemetry,
        )

    @cached_property
    def messages(self) -> Messages:
        """Sending one."""
        return Messages(pipeline=self.pipeline, reader=self.reader, clock=self.clock)

    @cached_property
    def notices(self) -> Notices:
        """Telling people's systems."""
        return Notices(
            messages=self.messages,
            incidents=self.incidents,
            evidence=self.evidence,
            kept=self.kept,
            sessions=self.sessions,
            work=self.work,
            receivers=self.settings.incidents.notify,
            url=self.settings.url,
        )

    @cached_property
    def time_boxes(self) -> TimeBoxes:
        """Telling people of a time box, and coming back at its end."""
        return TimeBoxes(
            pipeline=self.pipeline,
            approvals=self.approvals,
            boxes=self.boxes,
            approved=self.approved,
            incidents=self.incidents,
            sessions=self.sessions,
            records=self.records,
            messages=self.messages,
            work=self.work,
            clock=self.clock,
            telemetry=self.telemetry,
            receivers=self.settings.incidents.notify,
            url=self.settings.url,
        )

    @cached_property
    def alarms(self) -> Alarms:
        """Telling people's systems of a break-glass."""
        return Alarms(
            messages=self.messages,
            desk=self.breakglass,
            work=self.work,
            receivers=self.settings.incidents.notify,
            url=self.settings.url,
        )

    @cached_property
    def background(self) -> Background:
        """Due work of this process."""
        return Background(
            pipeline=self.pipeline,
            acts=self.acts,
            incident_acts=self.incident_acts,
            approvals=self.approvals,
            approved=self.approved,
            records=self.records,
            log=self.log,
            publisher=self.publisher,
            policy=self.policy,
            identity=self.identity,
            connectors=self.connectors,
            clock=self.clock,
            telemetry=self.telemetry,
            load_policy=self._load_policy,
            publish_seconds=self.settings.audit.publish_seconds,
            shared=self.shared,
            reviews=self.reviews,
            aftermath=self.aftermath,
            work=self.work,
            index=self._log_upkeep,
            tools=self.quarantine.look,
            counts=partial(watching.count, self),
            stopping=self.stopping,
            steps={
                "baseline": self.aftermath.baseline,
                "follow": self.aftermath.follow,
                "verify": self.aftermath.follow,
                "rollback": self.aftermath.follow,
                "learn": self.aftermath.learn,
                "notify": self.notices.notify,
                "export": self.exports.step,
                "time_box": self.time_boxes.step,
                WORK: self.alarms.tell,
            },
        )

    @cached_property
    def leaving(self) -> list[Callable[[], None]]:
        """Called once when the process is about to end: what would hold answers back lets them go."""
        return [self.acts.let_go, self.shelf.let_go]

    # -- life -----------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The context in which the gate may be served; leaving it lets effects under way finish."""
        with alone(self.settings.gate.data, shared=self.shared):
            await asyncio.to_thread(self.store.migrate)
            await self.log.start()
            if self.settings.policy.engine == "regorus":
                await self._load_policy()
            # OPA fetches the bundle from this gate, which must be serving then: the background loads it.
            with suppress(BrokerError):
                # Not ready then, and readiness says so; the background asks again.
                await self.identity.refresh()
            self.quarantine.start()
            await self.background.start()
            self.telemetry.event(
                "gate.started",
                port=self.settings.gate.port,
                engine=self.policy.engine_label,
                dev=self.development is not None,
            )
            watching.watch(self)
            try:
                async with watching.traced(self):
                    try:
                        yield
                    finally:
                        await self._stop()
            finally:
                await self.egress.aclose()
                self.store.close()

    async def missing(self) -> dict[str, str]:
        """What readiness lacks, by part; empty when the gate is ready."""
        missing: dict[str, str] = {"gate": "the gate is stopping"} if self.stopping.is_set() else {}
        if self.policy.active is None:
            missing["policy"] = self.policy.problem
        if not await self.log.healthy():
            missing["log"] = "the audit log cannot be written"
        try:
            if not await self.store.ready():
                missing["store"] = "the database's tables are not of this version"
        except BrokerError as error:
            missing["store"] = error.detail
        if not self.identity.ready:
            missing["identity"] = "the key set of an issuer is missing or too old"
        return missing

    async def _stop(self) -> None:
        await self.feed.aclose()
        await self.background.aclose()
        await asyncio.gather(*(connector.aclose() for connector in self.connectors.values()))
        await self.policies.aclose()
        await self.policy.aclose()
        await self.log.aclose()
