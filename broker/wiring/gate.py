"""The parts of a gate that act: sessions, incidents, the one path, background work, and its life."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cached_property
from typing import Any

from broker.acts import Acts
from broker.aftermath import Aftermath
from broker.approvals import Approvals
from broker.attempts import Attempts
from broker.background import Background
from broker.breakglass import BreakGlass
from broker.catalog import Action
from broker.connectors.base import Connector
from broker.connectors.registry import build_connector, read_settings
from broker.connectors.seal import Seal
from broker.datafolder import alone
from broker.errors import BrokerError
from broker.evidence import Diagnosis, Evidence
from broker.health import Health
from broker.incident_acts import IncidentActs
from broker.incidents import Incident, Incidents
from broker.kept import KeptInLog
from broker.killswitch import KillSwitch
from broker.lab import Lab
from broker.leases import Leases
from broker.limits import Limits
from broker.logbook import Exports, Feed, Lines, LogActs, LogIndex, Names
from broker.model import Json, Principal
from broker.notices import Notices
from broker.obligations import Obligations
from broker.pipeline import Pipeline
from broker.profiles import ActiveProfiles
from broker.reading import Ask, Reader
from broker.remedies import Finding, Situations, Times, remedies_for, times_of
from broker.remedies.measure import Measuring
from broker.reviewing import Reviewing
from broker.sessions import Sessions
from broker.streams import Streams
from broker.topology import Topology
from broker.wiring.boxing import acknowledging, boxing
from broker.wiring.foundations import Foundations
from broker.wiring.policing import policing
from broker.wiring.seeing import seeing
from broker.wiring.strong import alarming, signing, strong
from broker.work import Work


class Wiring(Foundations):
    """A gate of ``settings``. Raises ``BadRequest`` that names the wrong setting when a part is first asked for."""

    # -- the path -----------------------------------------------------------------------------------------------------

    @cached_property
    def sessions(self) -> Sessions:
        """Runs of agents."""
        return Sessions(self.store, self.clock)

    @cached_property
    def approvals(self) -> Approvals:
        """Proposals and reviews."""
        return Approvals(self.store, self.clock)

    @cached_property
    def kills(self) -> KillSwitch:
        """What is stopped."""
        who, gate = self.settings.kill, self.settings.gate
        tenant = gate.operator_tenant or gate.default_tenant
        return KillSwitch(
            self.store, self.clock, roles=who.roles, roles_for_all=who.roles_for_all, operator_tenant=tenant
        )

    # -- incidents ----------------------------------------------------------------------------------------------------

    @cached_property
    def topology(self) -> Topology:
        """What depends on what."""
        return Topology.of(self.settings)

    @cached_property
    def work(self) -> Work:
        """What is due."""
        return Work(self.store, self.clock)

    @cached_property
    def incidents(self) -> Incidents:
        """From alerts to their end."""
        return Incidents(self.store, self.clock, self.sessions, self.topology, self.settings.incidents)

    @cached_property
    def kept(self) -> KeptInLog:
        """Past results."""
        return KeptInLog(self.records)

    @cached_property
    def evidence(self) -> Evidence:
        """Judges claims."""
        return Evidence(self.store, self.clock, results=self.kept, signal_of=self._signal_of, well_of=self._well_of)

    @cached_property
    def incident_acts(self) -> IncidentActs:
        """What people and agents do about incidents."""
        return IncidentActs(
            incidents=self.incidents,
            work=self.work,
            evidence=self.evidence,
            kept=self.kept,
            topology=self.topology,
            sessions=self.sessions,
            records=self.records,
            settings=self.settings.incidents,
            remedies=self._remedies,
        )

    # -- what people read out of the log ------------------------------------------------------------------------------

    @cached_property
    def names(self) -> Names:
        """Who is behind a pseudonym."""
        return Names(self.store, self.records, self.clock)

    @cached_property
    def lines(self) -> Lines:
        """Records as lists show them."""
        return Lines(self.records, self.sessions.incident_of)

    @cached_property
    def feed(self) -> Feed:
        """The log as it grows."""
        return Feed(self.records, self.lines, self.settings.events, self.telemetry)

    @cached_property
    def log_index(self) -> LogIndex:
        """Finds records."""
        return LogIndex(
            store=self.store,
            records=self.records,
            lines=self.lines,
            names=self.names,
            clock=self.clock,
            telemetry=self.telemetry,
        )

    @cached_property
    def exports(self) -> Exports:
        """Files made of the log."""
        return Exports(
            records=self.records,
            lines=self.lines,
            index=self.log_index,
            names=self.names,
            store=self.store,
            work=self.work,
            clock=self.clock,
            folder=self.settings.gate.data / "exports",
        )

    @cached_property
    def log_acts(self) -> LogActs:
        """What people do with the log."""
        return LogActs(
            feed=self.feed,
            index=self.log_index,
            records=self.records,
            lines=self.lines,
            names=self.names,
            store=self.store,
            clock=self.clock,
            exports=self.exports,
        )

    async def _log_upkeep(self) -> None:
        """The index up to the log, and no bytes of exports beyond their time."""
        await self.log_index.run()
        await self.exports.sweep()

    def _signal_of(self, action: str) -> str:
        """The signal class of an action's result."""
        declared = self.policy.catalog.find(action)
        return declared.signal if declared else ""

    def _well_of(self, action: str) -> Sequence[Mapping[str, Json]]:
        """What its manifest says of a result that is well."""
        declared = self.policy.catalog.find(action)
        return declared.well if declared else ()

    def _remedies(self, incident: Incident, found: Diagnosis | None) -> list[dict[str, Json]]:
        """The catalogue of remedies, filled in with what was found."""
        finding = Finding(
            tenant=incident.tenant,
            env=incident.env,
            service=incident.service,
            component=str(found.cause["component"]) if found else "",
            fault=str(found.cause["fault"]) if found else "",
            claims=found.claims if found else (),
        )
        graph = self.topology.graph(incident.tenant, incident.env)
        return remedies_for(self.policy.catalog, graph, self.settings.resource, finding)

    def _times(self, action: Action) -> Times:
        """When a remedy is measured: as its manifest says, or as configured here."""
        chosen = self.settings.incidents
        return times_of(
            action,
            settle=chosen.verify_settle_seconds,
            window=chosen.verify_window_seconds,
            interval=chosen.verify_interval_seconds,
        )

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
        )

    @cached_property
    def limits(self) -> Limits:
        """Counts against limits."""
        return Limits(self.store)

    @cached_property
    def lab(self) -> Lab:
        """The redaction lab."""
        return Lab(profiles=ActiveProfiles(self.policy), key=self.keys.secret("id.key"))

    @cached_property
    def breakglass(self) -> BreakGlass:
        """What two people open for a while."""
        return BreakGlass(self.store, self.clock, self.settings.breakglass)

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
            approved=self.approved,
            beside=self.reviewing.beside,
            signing=signing(self),
            more={
                **strong(self),
                **self.incident_acts.acts,
                **self.log_acts.acts,
                **self.health.acts,
                **self.lab.acts,
                **policing(self),
                **acknowledging(self),
                **seeing(self),
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
        )

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
            redactor=self.redactor,
            connectors=self.connectors,
            clock=self.clock,
            telemetry=self.telemetry,
            approval_grace_seconds=self.settings.sessions.approval_grace_seconds,
            situations=self.situations,
        )

    @cached_property
    def streams(self) -> Streams:
        """Model calls whose answer is a stream."""
        return Streams(pipeline=self.pipeline, redactor=self.redactor)

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
    def notices(self) -> Notices:
        """Telling people's systems."""
        return Notices(
            pipeline=self.pipeline,
            incidents=self.incidents,
            evidence=self.evidence,
            kept=self.kept,
            sessions=self.sessions,
            work=self.work,
            clock=self.clock,
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
            aftermath=self.aftermath,
            work=self.work,
            index=self._log_upkeep,
            steps={
                "baseline": self.aftermath.baseline,
                "follow": self.aftermath.follow,
                "verify": self.aftermath.follow,
                "rollback": self.aftermath.follow,
                "learn": self.aftermath.learn,
                "notify": self.notices.notify,
                **alarming(self),
                "export": self.exports.step,
                **boxing(self),
            },
        )

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
            await self.background.start()
            self.telemetry.event(
                "gate.started",
                port=self.settings.gate.port,
                engine=self.policy.engine_label,
                dev=self.development is not None,
            )
            try:
                yield
            finally:
                await self._stop()

    async def missing(self) -> dict[str, str]:
        """What readiness lacks, by part; empty when the gate is ready."""
        missing: dict[str, str] = {}
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
        for connector in self.connectors.values():
            await connector.aclose()
        await self.policy.aclose()
        await self.log.aclose()
        await self.egress.aclose()
        self.store.close()
